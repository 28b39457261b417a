from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mfnet.head import Flame, HeadModel, rotation_from_axis_angle
from mfnet.head.flame import contour_row

PARENTS = (-1, 0, 1, 1, 1)


def reference_vertices(head: HeadModel, shape: np.ndarray, expression: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Linear blend skinning by 4 x 4 matrices, one joint at a time, in float64."""
    shaped = head.template.astype(float)
    shaped = shaped + head.shape_directions[..., : len(shape)].astype(float) @ shape
    shaped = shaped + head.expression_directions[..., : len(expression)].astype(float) @ expression
    joints = head.joint_regressor.astype(float) @ shaped
    rotations = Rotation.from_rotvec(pose.reshape(5, 3)).as_matrix()
    feature = np.concatenate([(rotation - np.eye(3)).ravel() for rotation in rotations[1:]])
    posed = shaped + head.pose_directions.astype(float) @ feature
    world = []
    for joint, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    vertices = np.zeros_like(posed)
    for joint in range(5):
        rest = np.eye(4)
        rest[:3, 3] = -joints[joint]
        transform = world[joint] @ rest
        moved = posed @ transform[:3, :3].T + transform[:3, 3]
        vertices += head.skinning_weights[:, joint : joint + 1] * moved
    return vertices


def random_parameters(batch: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    return (
        torch.randn(batch, 100, dtype=dtype),
        torch.randn(batch, 50, dtype=dtype),
        0.3 * torch.randn(batch, 15, dtype=dtype),
    )


def test_vertices_agree_with_a_reference_to_a_hundredth_of_a_millimetre(head: HeadModel) -> None:
    parameters = random_parameters(3)
    vertices = Flame(head)(*parameters).vertices.numpy()
    for index in range(3):
        expected = reference_vertices(head, *(p[index].double().numpy() for p in parameters))
        np.testing.assert_allclose(vertices[index], expected, atol=1e-5)


def test_vertices_agree_with_smplx(head: HeadModel) -> None:
    """Runs where smplx is installed; its licence is non-commercial, so nothing here depends on it."""
    lbs = pytest.importorskip("smplx.lbs").lbs
    shape, expression, pose = random_parameters(4)
    directions = np.concatenate([head.shape_directions[..., :100], head.expression_directions[..., :50]], -1)
    corrections = torch.tensor(head.pose_directions.reshape(-1, 36).T.copy())
    parents, template = torch.tensor(PARENTS), torch.tensor(head.template)[None]
    regressor, weights = torch.tensor(head.joint_regressor), torch.tensor(head.skinning_weights)
    values = torch.cat([shape, expression], 1)
    vertices, joints = lbs(values, pose, template, torch.tensor(directions), corrections, regressor, parents, weights)
    out = Flame(head)(shape, expression, pose)
    torch.testing.assert_close(out.vertices, vertices, atol=1e-5, rtol=0)
    torch.testing.assert_close(out.joints, joints, atol=1e-5, rtol=0)


def test_precision_is_the_decoders_also_under_autocast(head: HeadModel) -> None:
    parameters, flame = random_parameters(2), Flame(head)
    expected = flame(*parameters).vertices
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(flame(*parameters).vertices, expected)
        assert flame(*(parameter.bfloat16() for parameter in parameters)).vertices.dtype == torch.float32
    doubled = Flame(head).double()(*(parameter.double() for parameter in parameters))
    assert doubled.landmarks.dtype == torch.float64
    torch.testing.assert_close(doubled.vertices.float(), expected, atol=1e-6, rtol=0)


def test_compiles_as_one_graph_to_the_same_gradients(head: HeadModel) -> None:
    flame = Flame(head, landmarks_only=True)
    compiled = torch.compile(flame, backend="aot_eager", fullgraph=True)
    gradients = []
    for decode in (flame, compiled):
        torch.manual_seed(0)
        parameters = [parameter.requires_grad_() for parameter in random_parameters(3)]
        gradients.append(torch.autograd.grad(decode(*parameters).landmarks.square().sum(), parameters))
    for eager, traced in zip(*gradients, strict=True):
        torch.testing.assert_close(traced, eager, rtol=1e-4, atol=1e-6)


def test_landmarks_are_barycentric_points_of_the_posed_mesh(head: HeadModel) -> None:
    out = Flame(head)(*random_parameters(2))
    corners = out.vertices[:, head.faces[head.static_landmark_faces]]
    expected = (corners * torch.tensor(head.static_landmark_barycentric)[..., None]).sum(2)
    torch.testing.assert_close(out.landmarks[:, 17:], expected)


def test_landmarks_only_gives_the_same_landmarks_from_fewer_vertices(head: HeadModel) -> None:
    parameters = random_parameters(4)
    full, part = Flame(head), Flame(head, landmarks_only=True)
    assert len(part.template) < len(full.template) / 5
    torch.testing.assert_close(part(*parameters).landmarks, full(*parameters).landmarks, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("yaw", "row"), [(0, 0), (30, 30), (60, 39), (-1, 40), (-30, 69), (-80, 78)])
def test_contour_row_follows_decas_sign(yaw: float, row: int) -> None:
    rotation = rotation_from_axis_angle(torch.tensor([[0.0, np.radians(yaw), 0.0]]))
    assert contour_row(rotation).item() == row


@pytest.mark.parametrize(("yaw", "row"), [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, 41), (-2.5, 41)])
def test_contour_row_rounds_halves_to_even(yaw: float, row: int) -> None:
    rotation = rotation_from_axis_angle(torch.tensor([[0.0, np.radians(yaw), 0.0]], dtype=torch.float64))
    assert contour_row(rotation).item() == row


def test_contour_follows_the_neck_as_well_as_the_root(head: HeadModel) -> None:
    """Thirty degrees, by the root or by the neck: the same points of the surface are the contour."""
    flame = Flame(head)
    zero = torch.zeros(1, 100), torch.zeros(1, 50)
    found = []
    for joint in (0, 1):
        pose = torch.zeros(1, 15)
        pose[0, 3 * joint + 1] = np.radians(30)
        out = flame(*zero, pose)
        corners = torch.tensor(head.faces[head.contour_landmark_faces[30]])
        expected = (out.vertices[0][corners] * torch.tensor(head.contour_landmark_barycentric[30])[..., None]).sum(1)
        found.append((out.landmarks[0, :17] - expected).abs().max())
    assert max(found) < 1e-6


def test_turning_to_plus_x_pulls_the_far_contour_onto_the_cheek(head: HeadModel) -> None:
    """Nose to image right: the contour of the person's left (+x) slides forward, the near side's stays."""
    flame = Flame(head)
    pose = torch.zeros(2, 15)
    pose[1, 1] = np.radians(30)
    zero = torch.zeros(2, 100), torch.zeros(2, 50)
    landmarks = flame(*zero, pose).landmarks
    back = rotation_from_axis_angle(-pose[1:2, :3])[0]
    root = flame(*zero, pose).joints[0, 0]
    unturned = (landmarks[1] - root) @ back.T + root
    moved = (unturned - landmarks[0]).norm(dim=1)
    assert moved[:8].max() < 1e-4
    assert moved[13:17].min() > 0.01
    assert (unturned[13:17, 2] > landmarks[0, 13:17, 2]).all()


def test_gradients_agree_with_finite_differences(head: HeadModel) -> None:
    landmarks, whole = (Flame(head, 4, 3, landmarks_only=only).double() for only in (True, False))
    inputs = (
        torch.randn(2, 4, dtype=torch.float64, requires_grad=True),
        torch.randn(2, 3, dtype=torch.float64, requires_grad=True),
        (0.2 * torch.randn(2, 15, dtype=torch.float64)).requires_grad_(),
    )
    assert torch.autograd.gradcheck(lambda *p: landmarks(*p).landmarks * 100, inputs, atol=1e-6)
    probes = torch.randn(5, len(head.template) * 3, generator=torch.Generator().manual_seed(2)).double()
    assert torch.autograd.gradcheck(lambda *p: whole(*p).vertices.flatten(1) @ probes.T, inputs, atol=1e-6)
    assert torch.autograd.gradcheck(lambda *p: whole(*p).joints * 100, inputs, atol=1e-6)


def test_rotation_matches_scipy_and_is_smooth_at_zero() -> None:
    vectors = torch.randn(20, 3, dtype=torch.float64)
    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    np.testing.assert_allclose(rotation_from_axis_angle(vectors).numpy(), expected, atol=1e-12)
    zero = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotation_from_axis_angle, (zero,))


def test_some_vertices_alone_are_decoded_as_among_all(head: HeadModel) -> None:
    flame = Flame(head)
    inputs = torch.randn(2, 100), torch.randn(2, 50), 0.3 * torch.randn(2, 15)
    chosen = torch.tensor([7, 4000, 7, 12])
    part, place = flame.only(chosen)
    every, some = flame(*inputs), part(*inputs)
    torch.testing.assert_close(some.vertices[:, place[chosen]], every.vertices[:, chosen])
    torch.testing.assert_close(some.landmarks, every.landmarks)
    torch.testing.assert_close(some.joints, every.joints)
    left_out = place < 0
    assert left_out.sum() == len(head.template) - some.vertices.shape[1]


def test_fixed_landmarks_turn_with_the_head_as_the_contour_of_one_that_looks_ahead(head: HeadModel) -> None:
    flame = Flame(head, 100, 50)
    shape, expression, pose = random_parameters(2)
    pose[:, :6] = 0
    ahead = flame(shape, expression, pose)
    pose[:, :3] = torch.tensor([0.1, 0.9, -0.2])
    turned = flame(shape, expression, pose)
    rotation = rotation_from_axis_angle(pose[:, :3])
    root = turned.joints[:, :1]
    expected = (ahead.landmarks - root) @ rotation.mT + root
    torch.testing.assert_close(flame.fixed_landmarks(turned.vertices), expected, atol=1e-6, rtol=0)
    assert (turned.landmarks - expected)[:, :17].norm(dim=-1).max() > 0.005


def test_a_jawline_of_its_own_is_what_stays_on_the_skin(head: HeadModel) -> None:
    faces, barycentric = head.contour_landmark_faces[20], head.contour_landmark_barycentric[20]
    own = Flame(replace(head, jaw_landmark_faces=faces, jaw_landmark_barycentric=barycentric), 100, 50)
    parameters = random_parameters(2)
    out = own(*parameters)
    corners = torch.tensor(head.faces[faces])
    expected = (out.vertices[:, corners] * torch.tensor(barycentric)[..., None]).sum(2)
    for decoder in (own, own.only(torch.tensor([0]))[0]):
        found = decoder.fixed_landmarks(decoder(*parameters).vertices)
        torch.testing.assert_close(found[:, :17], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(own.fixed_landmarks(out.vertices)[:, 17:], out.landmarks[:, 17:])
