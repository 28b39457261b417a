"""What the start's training is judged by."""

import numpy as np
import roma
import torch

from mfnet.head import Directions, HeadModel
from mfnet.method.network import Parameters
from mfnet.method.start import DensePoints
from mfnet.pretraining.judge import CROP_SCALE, IMAGE_SIZE, N_POINTS, Judge, spread_points
from mfnet.pretraining.people import KnownPhotographs, People


def test_the_points_are_spread_over_face_and_ears(head: HeadModel) -> None:
    points = spread_points(head)
    assert len(set(points)) == N_POINTS
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


def true_points(head: HeadModel, known: KnownPhotographs, spread: float) -> DensePoints:
    vertices = torch.from_numpy(spread_points(head))
    places = known.vertices[:, vertices, :2].unflatten(0, known.images.shape[:2])
    return DensePoints(vertices, places, torch.full(places.shape[:-1], spread))


def test_the_truth_has_no_error_but_what_the_network_has_no_directions_for(head: HeadModel) -> None:
    known = People(head, IMAGE_SIZE, CROP_SCALE, 2, 0).draw(np.random.default_rng(0), 2, 2)
    judge = Judge(head, Directions(), torch.device("cpu"))
    truth = true_parameters(known)
    points = true_points(head, known, 0.01)
    errors = judge.errors(truth, points, known)
    assert errors["points_percent"] < 1e-3
    assert errors["landmarks_percent"] < 0.5
    assert errors["rotation_degrees"] < 0.1
    assert errors["skin_mm"] < 0.5
    turned = truth._replace(rotation=truth.rotation + torch.tensor([0.0, 0.1, 0.0]))
    assert judge.errors(turned, points, known)["rotation_degrees"] > 3
    worse = judge.losses(turned, points._replace(places=points.places + 0.05), known)
    for name, value in judge.losses(truth, points, known).items():
        assert value <= worse[name] + 1e-6, name


def test_the_spread_that_is_said_is_best_where_it_is_the_error(head: HeadModel) -> None:
    known = People(head, IMAGE_SIZE, CROP_SCALE, 2, 0).draw(np.random.default_rng(0), 1, 1)
    judge = Judge(head, Directions(), torch.device("cpu"))
    truth = true_parameters(known)
    off = [true_points(head, known, spread) for spread in (0.01, 0.02, 0.04)]
    terms = [
        judge.losses(truth, points._replace(places=points.places + 0.02), known)["points"].item() for points in off
    ]
    assert terms[1] < min(terms[0], terms[2])
