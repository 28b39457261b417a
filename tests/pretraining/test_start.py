"""The start's training, at its smallest: what it is judged by, and that it goes on where it stopped."""

from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from mfnet.head import Directions, HeadModel
from mfnet.method.network import Parameters
from mfnet.pretraining import start
from mfnet.pretraining.people import KnownPhotographs, People
from mfnet.pretraining.start import Answer, Judge, StartNetwork, spread_points, train


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_N_SKINS", 2)
    monkeypatch.setattr(start, "_LOG_EVERY", 2)
    monkeypatch.setattr(start, "_JUDGE_EVERY", 1)


def test_the_points_are_spread_over_face_and_ears(head: HeadModel) -> None:
    points = spread_points(head)
    assert len(set(points)) == start.N_POINTS
    inside = head.regions["face"] | head.regions["ears"]
    assert inside[points].all()
    places = head.template[points]
    between = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.eye(len(points))
    # None stands much closer to its neighbour than the others do.
    assert between.min(1).min() > 0.4 * np.median(between.min(1))


def true_parameters(known: KnownPhotographs) -> Parameters:
    """What a network without error would say: the truth with rotations against the ray to the head."""
    truth = known.truth
    turn = known.lens.turn(truth.camera.flatten(0, 1)[:, 1:]).view_as(truth.rotation)
    rotation = roma.rotvec_composition((-turn, truth.rotation))
    return truth._replace(shape=truth.shape[:, :100], expression=truth.expression[:, :50], rotation=rotation)


def test_the_truth_has_no_error_but_what_the_network_has_no_directions_for(head: HeadModel) -> None:
    known = People(head, start.IMAGE_SIZE, start.CROP_SCALE, 2, 0).draw(np.random.default_rng(0), 2, 2)
    judge = Judge(head, Directions(), torch.device("cpu"))
    truth = true_parameters(known)
    points = known.vertices[:, torch.from_numpy(spread_points(head)), :2].unflatten(0, (2, 2))
    answer = Answer(truth, points, torch.full(points.shape[:-1], 0.01))
    errors = judge.errors(answer, known)
    assert errors["points_percent"] < 1e-3
    assert errors["landmarks_percent"] < 0.5
    assert errors["rotation_degrees"] < 0.1
    assert errors["skin_mm"] < 0.5
    turned = truth._replace(rotation=truth.rotation + torch.tensor([0.0, 0.1, 0.0]))
    assert judge.errors(Answer(turned, points, answer.spread), known)["rotation_degrees"] > 3
    for name, value in judge.losses(answer, known).items():
        assert value <= judge.losses(Answer(turned, points + 0.05, answer.spread), known)[name] + 1e-6, name


def test_the_spread_that_is_said_is_best_where_it_is_the_error(head: HeadModel) -> None:
    known = People(head, start.IMAGE_SIZE, start.CROP_SCALE, 2, 0).draw(np.random.default_rng(0), 1, 1)
    judge = Judge(head, Directions(), torch.device("cpu"))
    truth = true_parameters(known)
    points = known.vertices[:, torch.from_numpy(spread_points(head)), :2].unflatten(0, (1, 1)) + 0.02
    terms = [
        judge.losses(Answer(truth, points, torch.full(points.shape[:-1], spread)), known)["points"].item()
        for spread in (0.01, 0.02, 0.04)
    ]
    assert terms[1] < min(terms[0], terms[2])


def test_a_resumed_training_goes_on_as_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"encoder": "compact", "features": 8, "steps": 4, "images": 2, "learning_rate": 1e-3, "seed": 0}
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


def test_one_photograph_and_several_are_answered(head: HeadModel) -> None:
    network = StartNetwork("compact", 8, Directions()).eval()
    with torch.no_grad():
        for views in (1, 3):
            answer = network(torch.rand(2, views, 3, 128, 128))
            assert answer.points.shape == (2, views, start.N_POINTS, 2)
            assert (answer.spread > 0).all()
