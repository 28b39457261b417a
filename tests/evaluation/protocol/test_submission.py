"""Reconstructions in the benchmark's frames."""

import numpy as np
import pytest

from mfnet.data.facescape import PUPIL_DISTANCE_MM
from mfnet.evaluation.protocol.submission import (
    Part,
    image_cube,
    lab_mesh,
    perspective_mesh,
    three_units_high,
    wild_mesh,
)
from mfnet.head import HeadModel
from mfnet.render.camera import Crop


def test_submission_frames() -> None:
    projected = np.array([[0.0, 0, 0.5], [1, -1, -0.5]])
    cube = image_cube(projected, Crop(128.0, 64.0, 128.0))
    np.testing.assert_allclose(cube, [[0, 0.5, -0.25], [0.5, 1.0, 0.25]])
    assert wild_mesh(cube)[:, 2].mean() == pytest.approx(-2)
    lab = lab_mesh(cube, 1)
    assert np.ptp(lab[:, 1]) == pytest.approx(3)
    assert (lab[:, 2] > 0).all()
    assert lab[0, 1] / lab[0, 2] < 0


def test_a_prediction_in_front_of_a_pinhole_stays_where_it_is_or_is_scaled_about_the_camera() -> None:
    metres = np.array([[0.0, -0.15, 0.5], [0.05, 0.15, 0.6]])
    own = perspective_mesh(metres)
    np.testing.assert_allclose(own * PUPIL_DISTANCE_MM, metres * 1000)
    by_rule = three_units_high(own)
    assert np.ptp(by_rule[:, 1]) == pytest.approx(3)
    np.testing.assert_allclose(by_rule[:, :2] / by_rule[:, 2:], own[:, :2] / own[:, 2:])


@pytest.mark.parametrize("name", ["head", "face"])
def test_a_part_is_the_same_surface(head: HeadModel, name: str) -> None:
    part = Part.of(head, name)
    triangles = head.template[part.vertices][part.faces]
    known = {triangle.tobytes() for triangle in head.template[head.faces]}
    assert {triangle.tobytes() for triangle in triangles} <= known
    assert (len(part.faces) == len(head.faces)) == (name == "head")
    if name == "face":
        height = np.ptp(head.template[part.vertices, 1])
        assert height == pytest.approx(3 * PUPIL_DISTANCE_MM / 1000, rel=0.1)
