"""What users have: a photograph of a real person, and photographs that are not of one instant."""

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from mfnet.data.landmarks import OUTER_EYES
from mfnet.head import Directions, Flame, HeadModel
from mfnet.method.network import decode, mean_parameters
from mfnet.reconstruct import Reconstructor


@pytest.fixture(scope="module")
def astronaut() -> tuple[np.ndarray, np.ndarray]:
    """scikit-image's portrait of a person, and her landmarks by another project's detector."""
    landmarks = json.loads((Path(__file__).parents[1] / "astronaut_landmarks.json").read_text())["landmarks"]
    return skimage.data.astronaut(), np.array(landmarks)


def test_a_real_persons_landmarks_are_met_by_a_likely_head(
    head: HeadModel, astronaut: tuple[np.ndarray, np.ndarray]
) -> None:
    image, landmarks = astronaut
    result = Reconstructor.fitting(head)([image], [landmarks])
    right, left = OUTER_EYES
    eyes = np.linalg.norm(landmarks[right] - landmarks[left])
    distance = np.linalg.norm(result.landmarks[0] - landmarks, axis=1)[17:].mean()
    assert distance / eyes < 0.02
    assert np.abs(result.parameters["shape"]).max() < 3.5


def test_photographs_of_several_instants_have_one_shape_and_an_expression_each(head: HeadModel, tmp_path: Path) -> None:
    """One person, calm and smiling with an open mouth: fitted together as one instant, they are missed."""
    flame = Flame(head, 100, 50)
    shape = torch.zeros(1, 100)
    shape[0, :6] = torch.tensor([0.8, -0.6, 0.9, 0.5, -0.7, 0.4])
    smile = torch.tensor(0.7 * (head.actions["mouthSmileLeft"] + head.actions["mouthSmileRight"]))[None, :50]
    landmarks = []
    for expression, jaw in ((torch.zeros(1, 50), 0.0), (smile, 0.2)):
        pose = torch.zeros(1, 15)
        pose[0, 6] = jaw
        points = flame(shape, expression, pose).landmarks[0, :, :2].numpy()
        landmarks.append(points * [1500, -1500] + 256)
    photographs = [np.full((512, 512, 3), 128, np.uint8)] * 2
    reconstructor = Reconstructor.fitting(head)
    together = reconstructor(photographs, landmarks)
    each = reconstructor(photographs, landmarks, expressions="each")

    def missed(result) -> float:  # type: ignore[no-untyped-def]
        pairs = zip(result.landmarks, landmarks, strict=True)
        return float(np.mean([np.linalg.norm(point - true, axis=1)[17:].mean() for point, true in pairs]))

    assert missed(each) < 0.5 * missed(together)
    assert each.parameters["expression"].shape == (2, 50)
    assert each.parameters["jaw"][1, 0] > each.parameters["jaw"][0, 0] + 0.1
    assert each.first_vertices is not None
    assert together.first_vertices is None
    # The mesh is without expression: its lips are shut, whatever the photographs show.
    bare = flame(torch.tensor(each.parameters["shape"])[None], torch.zeros(1, 50), torch.zeros(1, 15)).vertices[0]
    np.testing.assert_allclose(each.vertices, bare, atol=1e-6)
    each.save(tmp_path)
    assert (tmp_path / "mesh_first.glb").is_file()


def test_views_of_one_instant_decode_as_if_each_had_the_same_expression(head: HeadModel) -> None:
    shared = mean_parameters(2, 3, Directions())
    shared = shared._replace(expression=torch.randn(2, 50), jaw=0.1 * torch.randn(2, 3))
    own = shared._replace(
        expression=shared.expression[:, None].repeat(1, 3, 1), jaw=shared.jaw[:, None].repeat(1, 3, 1)
    )
    flame = Flame(head)
    torch.testing.assert_close(decode(flame, own).landmarks, decode(flame, shared).landmarks)
