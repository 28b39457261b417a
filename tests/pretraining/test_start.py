"""The start's training, at its smallest: it goes on where it stopped, and what is packaged is what was trained."""

import json
from pathlib import Path

import pytest
import torch

from mfnet.errors import UserError
from mfnet.head import HeadModel
from mfnet.method.start import load_start
from mfnet.pretraining import judge, start
from mfnet.pretraining.origin import card_of
from mfnet.pretraining.start import blended, package, train

SETTINGS = {
    "start": "nothing", "encoder": "compact", "features": 8, "images": 2, "learning_rate": 1e-3, "constant": 0.7,
    "seed": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_N_SKINS", 2)
    monkeypatch.setattr(start, "_LOG_EVERY", 2)
    monkeypatch.setattr(start, "_JUDGE_EVERY", 1)


def test_a_resumed_training_goes_on_as_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SETTINGS | {"steps": 4}
    unbroken, curve = train(settings, tmp_path / "a", workers=0)
    assert [step for step, _ in curve] == [2, 4]
    draw, calls = start.StepBatches.__getitem__, []

    def interrupted(self: start.StepBatches, step: int) -> object:
        calls.append(step)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return draw(self, step)

    with monkeypatch.context() as broken:
        broken.setattr(start.StepBatches, "__getitem__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(settings, tmp_path / "b", workers=0)
    resumed, _ = train(settings, tmp_path / "b", workers=0)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_longer_training_goes_on_from_where_the_rate_of_a_shorter_one_fell(tmp_path: Path) -> None:
    train({**SETTINGS, "steps": 4}, tmp_path / "a", workers=0)
    longer, curve = train({**SETTINGS, "steps": 8}, tmp_path / "a", workers=0)
    at_once, _ = train({**SETTINGS, "steps": 8}, tmp_path / "b", workers=0)
    assert [step for step, _ in curve] == [2, 4, 6, 8]
    for name, value in longer.state_dict().items():
        assert torch.equal(value, at_once.state_dict()[name]), name
    with pytest.raises(UserError, match="trained for 6 steps already; expected --steps 9 or more"):
        train({**SETTINGS, "steps": 5}, tmp_path / "a", workers=0)


def test_what_is_packaged_says_the_same_as_what_was_trained(
    head: HeadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "_N_HELD_OUT_SKINS", 2)
    monkeypatch.setattr(judge, "_HELD_OUT_BATCHES", 2)
    settings = SETTINGS | {"steps": 2}
    network, history = train(settings, tmp_path, workers=0)
    package(network, settings, history, tmp_path)
    packaged, config = load_start(tmp_path)
    assert config.head == head.fingerprint
    images = torch.rand(1, 2, 3, 128, 128)
    with torch.no_grad():
        # Weights are halved in precision.
        torch.testing.assert_close(packaged.points(images).places, network.points(images).places, atol=0.01, rtol=0)
    card = json.loads((tmp_path / "start.json").read_text())
    assert list(card["held_out"]) == ["photographs: 1", "photographs: 3"]
    assert all(set(errors) == set(card["curve_columns"]) - {"step"} for errors in card["held_out"].values())
    assert [row[0] for row in card["curve"]] == [2]
    assert card["started_from"] is None


def test_a_training_begins_with_the_packaged_weights_where_it_is_told_to(tmp_path: Path) -> None:
    packaged, config = load_start()
    settings = SETTINGS | {"start": "packaged", "features": config.features, "steps": 2, "learning_rate": 1e-7}
    network, _ = train(settings, tmp_path, workers=0)
    for own, other in zip(network.parameters(), packaged.parameters(), strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=0)


def test_packaged_weights_of_another_network_are_no_beginning(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"start: the packaged weights are of head .* expected those settings"):
        train(SETTINGS | {"start": "packaged", "steps": 2}, tmp_path, workers=0)


def test_checkpoints_of_another_training_are_not_written_over(tmp_path: Path) -> None:
    train({**SETTINGS, "steps": 2}, tmp_path, workers=0)
    with pytest.raises(UserError, match="use these settings or another --work"):
        train({**SETTINGS, "steps": 2, "seed": 1}, tmp_path, workers=0)


def test_a_card_tells_what_a_training_began_with(tmp_path: Path) -> None:
    card = {"steps": 9, "curve": [[1, 2.0]], "started_from": {"steps": 8, "curve": [[1, 3.0]]}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert card_of(tmp_path / "card.json") == {"steps": 9, "started_from": {"steps": 8}}


def test_a_blend_lies_between_what_a_network_was_and_what_it_became(tmp_path: Path) -> None:
    before, after = (train(SETTINGS | {"steps": 2, "seed": seed}, tmp_path / str(seed), 0)[0] for seed in (0, 1))
    for share, expected in ((0.0, before), (1.0, after)):
        for own, other in zip(blended(before, after, share).parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(own, other)
    quarter = blended(before, after, 0.25).state_dict()
    name = "mfnet.shared_head.0.weight"
    between = 0.75 * before.state_dict()[name] + 0.25 * after.state_dict()[name]
    torch.testing.assert_close(quarter[name], between)
