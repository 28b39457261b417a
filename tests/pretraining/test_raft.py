"""Which pairs a training of RAFT sees when, and that it goes on from the weights that are packaged."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from mfnet.flow.estimator import PACKAGED_WEIGHTS, read_raft
from mfnet.pretraining import raft
from mfnet.pretraining.motion import KINDS
from mfnet.pretraining.raft import StepBatches, learning_rate_at, pretrain


class Counted:
    """Stands for MotionPairs: notes what it is asked for."""

    image_size = 128

    def seed(self, seed: int) -> None:
        self.drawn_from = seed

    def batch(self, **counts: int) -> dict[str, int]:
        return counts


@pytest.mark.parametrize(("settled", "first_texture"), [(0.5, 0.65), (0.0, 0.05)])
def test_kinds_of_pairs_change_until_they_are_settled(settled: float, first_texture: float) -> None:
    batches = StepBatches(steps=400, batch=64, image_sizes=[128], seed=0, settled=settled)
    batches.__dict__["_pairs"] = [Counted()]
    counts = torch.tensor([list(batches[step].values()) for step in (*range(10), *range(360, 400))]).float()  # type: ignore[attr-defined]
    texture = counts[:, KINDS.index("texture")] / counts.sum(1)
    assert texture[:10].mean() == pytest.approx(first_texture, abs=0.06)
    assert texture[10:].mean() == pytest.approx(0.05, abs=0.03)
    assert batches[7] == batches[7]


def test_the_rate_rises_and_falls_to_nothing() -> None:
    for steps in (1000, 20000):
        rates = [learning_rate_at(step, steps, 2.0) for step in range(steps)]
        top = rates.index(max(rates))
        assert 1.8 < max(rates) <= 2.0
        assert top <= min(500, steps / 10) + 0.02 * steps
        assert rates[: top + 1] == sorted(rates[: top + 1])
        assert rates[-1] < 0.05


def test_what_is_packaged_says_how_much_larger_it_sees_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training of two steps from the packaged weights, and what is read of what it wrote."""
    monkeypatch.setattr(raft, "PACKAGED_WEIGHTS", tmp_path / "raft.safetensors")
    monkeypatch.setattr(raft, "measure", lambda estimator, head, size: {"still": estimator.enlargement})
    shutil.copy(PACKAGED_WEIGHTS, tmp_path / "raft.safetensors")
    shutil.copy(PACKAGED_WEIGHTS.with_suffix(".json"), tmp_path / "raft.json")
    settings = {"start": "packaged", "steps": 2, "batch": 2, "image_sizes": [128], "enlargement": 3, "updates": 1,
                "learning_rate": 1e-9, "seed": 0}  # fmt: skip
    pretrain(settings, tmp_path / "work", workers=0)
    model, enlargement = read_raft(tmp_path / "raft.safetensors")
    assert enlargement == 3
    # At this rate nothing moves by more than half precision shows.
    for own, other in zip(model.parameters(), read_raft(PACKAGED_WEIGHTS)[0].parameters(), strict=True):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-3)
    card = json.loads((tmp_path / "raft.json").read_text())
    assert card["held_out_px"] == {"128 px": {"still": 3}}
    assert card["started_from"]["steps"] == json.loads(PACKAGED_WEIGHTS.with_suffix(".json").read_text())["steps"]
