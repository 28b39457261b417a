import numpy as np
import pytest
import torch

from mfnet.data.landmarks import MIRROR
from mfnet.head import Flame, HeadModel
from mfnet.method.covisible import covisible_mask, landmark_mask, visible_landmarks
from mfnet.render.shading import vertex_normals


def test_frontal_camera_sees_all_but_the_rim() -> None:
    seen = visible_landmarks(0)
    assert seen[17:].all()
    assert not seen[[0, 16]].any()


@pytest.mark.parametrize("yaw", [15, 30, 45, 60, 75, 90])
def test_visibility_is_mirror_symmetric_and_shrinks(yaw: float) -> None:
    np.testing.assert_array_equal(visible_landmarks(yaw), visible_landmarks(-yaw)[MIRROR])
    assert visible_landmarks(yaw).sum() <= visible_landmarks(yaw - 15).sum()


def test_nose_to_image_right_hides_the_persons_left() -> None:
    seen = visible_landmarks(60)
    assert seen[36]
    assert not seen[45]
    assert seen[2]
    assert not seen[14]


@pytest.mark.parametrize("yaw", [0, 30, 60])
def test_table_agrees_with_the_heads_own_normals(head: HeadModel, yaw: float) -> None:
    """Landmarks counted as visible face the camera; the table may only be more cautious than the normals."""
    pose = torch.zeros(1, 15)
    pose[0, 1] = np.radians(yaw)
    out = Flame(head)(torch.zeros(1, 100), torch.zeros(1, 50), pose)
    normals = vertex_normals(out.vertices, torch.tensor(head.faces))[0].numpy()
    corners = head.faces[head.static_landmark_faces]
    facing = (normals[corners][..., 2] * head.static_landmark_barycentric).sum(1)
    assert (facing[visible_landmarks(yaw)[17:]] > -0.35).all()


def test_mask_is_the_hull_of_what_both_see() -> None:
    landmarks = np.zeros((68, 2), np.float32)
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    landmarks[:] = 0.5 * np.stack([np.cos(angle), np.sin(angle)], 1)
    mask = landmark_mask(landmarks, 0, 0, 64)
    assert mask[32, 32]
    assert not mask[2, 2]
    assert landmark_mask(landmarks, -90, 90, 64).sum() < mask.sum()


def test_equation_5_is_a_product() -> None:
    mb, mf = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 8, 8)
    mb[..., :2], mf[..., :6, :] = 1, 1
    mask = covisible_mask(mb, mf)
    assert mask.shape == (1, 1, 8, 8)
    assert mask.sum() == 6 * 4
    assert covisible_mask(mb, mf, torch.zeros(1, 1, 4, 4)).sum() == 0
