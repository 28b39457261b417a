import numpy as np
import torch

from mfnet.head import Flame, HeadModel, procedural_head
from mfnet.render.shading import vertex_normals


def test_size_and_order_of_directions(head: HeadModel) -> None:
    assert 4000 <= len(head.template) <= 6000
    for directions, count in ((head.shape_directions, 300), (head.expression_directions, 100)):
        variance = (directions.astype(float) ** 2).sum((0, 1))
        assert len(variance) == count
        assert (np.diff(variance) <= 1e-12).all()
        assert variance[-1] > 0


def test_directions_are_orthogonal(head: HeadModel) -> None:
    flat = head.shape_directions.reshape(-1, 300).astype(float)
    flat = flat / np.linalg.norm(flat, axis=0)
    product = flat[:, :40].T @ flat[:, :40]
    assert np.abs(product - np.eye(40)).max() < 1e-3


def test_proportions_are_a_heads(head: HeadModel) -> None:
    landmarks = Flame(head)(torch.zeros(1, 100), torch.zeros(1, 50), torch.zeros(1, 15)).landmarks[0].numpy()
    assert 0.080 < landmarks[45, 0] - landmarks[36, 0] < 0.100
    assert landmarks[30, 2] == landmarks[:, 2].max()
    assert landmarks[8, 1] == landmarks[:, 1].min()
    assert landmarks[0, 0] < 0 < landmarks[16, 0]
    assert np.abs(landmarks[17:27, 0] + landmarks[26:16:-1, 0]).max() < 0.001


def test_surface_is_oriented_outwards(head: HeadModel) -> None:
    vertices = torch.tensor(head.template)[None]
    normals = vertex_normals(vertices, torch.tensor(head.faces))[0].numpy()
    skin = ~(head.regions["eyes"] | head.regions["mouth"])
    axis = np.array([0, 1, 0])
    outward = (head.template - [0, 0, -0.045]) * (1 - axis)
    agreement = (normals * outward).sum(1)[skin & (np.abs(head.template[:, 1]) < 0.08)]
    assert (agreement > 0).mean() > 0.95


def test_opening_the_jaw_parts_the_lips_and_leaves_the_brow(head: HeadModel) -> None:
    flame = Flame(head)
    pose = torch.zeros(2, 15)
    pose[1, 6] = 0.25
    landmarks = flame(torch.zeros(2, 100), torch.zeros(2, 50), pose).landmarks
    gap = landmarks[:, 62, 1] - landmarks[:, 66, 1]
    assert gap[0] < 0.001
    assert gap[1] > 0.010
    assert (landmarks[1, 17:27] - landmarks[0, 17:27]).abs().max() < 1e-4


def test_weights_and_regressor_are_convex(head: HeadModel) -> None:
    np.testing.assert_allclose(head.skinning_weights.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(head.joint_regressor.sum(1), 1, atol=1e-5)
    assert head.skinning_weights.min() >= 0


def test_seed_decides_the_directions_only(head: HeadModel) -> None:
    other = procedural_head(1)
    np.testing.assert_array_equal(other.template, head.template)
    assert np.abs(other.shape_directions - head.shape_directions).max() > 0


def test_people_differ_by_millimetres(head: HeadModel, rng: np.random.Generator) -> None:
    people = rng.normal(size=(40, 300)) @ head.shape_directions.reshape(-1, 300).T.astype(float)
    face = people.reshape(40, -1, 3)[:, head.regions["face"]]
    spread = np.sqrt((face.std(0) ** 2).sum(1)).mean()
    assert 0.003 < spread < 0.009
