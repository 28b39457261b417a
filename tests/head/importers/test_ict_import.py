"""A folder in ICT-FaceKit's layout, with a made-up head of the same vertex numbers, and where there is one the real."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mfnet.errors import UserError
from mfnet.head import Flame, HeadModel
from mfnet.head.importers.ict import _LANDMARKS, load_ict
from mfnet.head.importers.rig import affine_weights, fit_sphere

HINGE, ANGLE = np.array([0.0, -1.0, 2.0]), 0.3
# x, y of the 68 landmarks on the made-up head's front, centimetres: a wide V of 17, then rows of thirteen.
PLACES = [(0.8 * (k - 8), -7.0 + abs(k - 8) * 0.9) for k in range(17)] + [
    (-5.0 + 10.0 * (k % 13) / 12, 5.0 - 2.0 * (k // 13)) for k in range(51)
]


def made_up_head() -> tuple[np.ndarray, list[str]]:
    """Vertices [26719, 3] and face lines: a half barrel of 97 x 97 vertices, a back, eyeballs and two rows of teeth."""
    vertices = np.zeros((26719, 3))
    azimuth, height = np.meshgrid(np.linspace(-1.6, 1.6, 97), np.linspace(12, -16, 97))
    front = np.stack([9 * np.sin(azimuth), height, 9 * np.cos(azimuth)], -1).reshape(-1, 3)
    front[:, 2] += 1.5 * np.exp(-(((front[:, 0] / 1.5) ** 2) + (front[:, 1] / 2.5) ** 2))
    # Trade places until every landmark's vertex lies where that landmark belongs.
    number = np.arange(9409)
    for vertex, place in zip(_LANDMARKS, PLACES, strict=True):
        free = np.linalg.norm(front[:, :2] - place, axis=1)
        free[[np.flatnonzero(number == other)[0] for other in _LANDMARKS[: _LANDMARKS.index(vertex)]]] = np.inf
        here, there = np.flatnonzero(number == vertex)[0], int(free.argmin())
        number[[here, there]] = number[[there, here]]
    vertices[number] = front
    around, level = np.meshgrid(np.linspace(1.6, 2 * np.pi - 1.6, 613), (12, -4, -16))
    vertices[9409:11248] = np.stack([9 * np.sin(around), level, 9 * np.cos(around)], -1).reshape(-1, 3)
    rng = np.random.default_rng(0)
    for start, x in ((21451, 3.1), (23021, -3.1)):
        outward = rng.normal(size=(1570, 3))
        outward[:, 2] = np.abs(outward[:, 2])
        vertices[start : start + 1570] = 1.4 * outward / np.linalg.norm(outward, axis=1)[:, None] + [x, 3.6, 8.0]
    vertices[17039:21451] = rng.normal(size=(4412, 3)) + [0, -4, 7]

    def quads(ids: np.ndarray, material: str) -> list[str]:
        corners = np.stack([ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]], -1).reshape(-1, 4) + 1
        return [f"usemtl {material}", *("f " + " ".join(f"{k}/{k}" for k in quad) for quad in corners)]

    lines = quads(number.reshape(97, 97), "M_Face") + quads(np.arange(9409, 11248).reshape(3, 613), "M_BackHead")
    for start, side in ((21451, "Left"), (23021, "Right")):
        lines += quads(np.arange(start, start + 770).reshape(70, 11), f"M_Sclera{side}")
        lines += quads(np.arange(start + 770, start + 1570).reshape(40, 20), f"M_Iris{side}")
    return vertices, lines + ["usemtl M_Teeth", "f 17040/1 17041/2 17042/3"]


def write_obj(path: Path, vertices: np.ndarray, rest: list[str]) -> None:
    lines = ["# made up", "mtllib none.mtl", *("v " + " ".join(f"{x:.7g}" for x in vertex) for vertex in vertices)]
    path.write_text("\n".join(lines + rest) + "\n")


@pytest.fixture(scope="module")
def facekit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """The checkout, and the displacements in it that the tests ask for, centimetres."""
    folder = tmp_path_factory.mktemp("ICT-FaceKit") / "FaceXModel"
    folder.mkdir()
    neutral, faces = made_up_head()
    rng = np.random.default_rng(1)
    uv = ["vt " + " ".join(f"{x:.6f}" for x in point) for point in rng.uniform(size=(len(neutral), 2))]
    write_obj(folder / "generic_neutral_mesh.obj", neutral, uv + faces)
    opened = (neutral - HINGE) @ Rotation.from_euler("x", ANGLE).as_matrix().T + HINGE - neutral
    share = 1 / (1 + np.exp((neutral[:, 1] + 4) / 0.7))
    share[21451:24591] = 0
    share[17039:21451] = np.arange(4412) % 2
    bulge = np.exp(-(((neutral - [5, -4, 7]) / 2) ** 2).sum(1))[:, None] * [0.3, 0, 0]
    bulge[17039:21451] = 0
    moved = {"jawOpen": share[:, None] * opened + bulge}
    for name in ("identity000", "identity001", "browDown_L", "mouthSmile_L", "mouthClose"):
        wave = np.cos(neutral @ rng.normal(size=(3, 3)) * 0.2 + rng.uniform(0, 6, 3)) * rng.uniform(0.2, 1.0)
        wave[21451:24591] *= 0.1
        moved[name] = wave
    expressions = ["jawOpen", "browDown_L", "mouthSmile_L", "mouthClose", *(f"shape{k}" for k in range(49))]
    for name, displacement in moved.items():
        write_obj(folder / f"{name}.obj", neutral + displacement, [])
    for name in expressions[4:]:
        os.link(folder / "browDown_L.obj", folder / f"{name}.obj")
    for index in range(2, 100):
        os.link(folder / f"identity{index % 2:03d}.obj", folder / f"identity{index:03d}.obj")
    (folder / "vertex_indices.json").write_text(json.dumps({"expressions": expressions}))
    moved["shut"] = moved["jawOpen"] + moved["mouthClose"]
    kept = np.r_[0:11248, 21451:24591]
    return folder.parent, {name: displacement[kept] for name, displacement in moved.items()}


@pytest.fixture(scope="module")
def converted(facekit: tuple[Path, dict[str, np.ndarray]]) -> HeadModel:
    return load_ict(facekit[0])


def test_it_is_a_head_in_flames_place_and_unit(converted: HeadModel) -> None:
    assert len(converted.template) == 11248 + 2 * 1570
    assert converted.uv_coordinates.min() > 0
    assert converted.uv_coordinates.max() < 1
    eyes = converted.joint_regressor[3:] @ converted.template
    np.testing.assert_allclose(eyes, [[0.031, 0.0214, 0.0255], [-0.031, 0.0214, 0.0255]], atol=1e-4)
    np.testing.assert_allclose(converted.skinning_weights.sum(1), 1, atol=1e-6)
    assert converted.skinning_weights.min() >= 0


@pytest.mark.parametrize(
    ("kind", "names"),
    [("shape", ("identity000", "identity001")), ("expression", ("browDown_L", "mouthSmile_L", "shut"))],
)
def test_every_mesh_is_in_the_span_of_orthogonal_directions(
    facekit: tuple[Path, dict[str, np.ndarray]], converted: HeadModel, kind: str, names: tuple[str, ...]
) -> None:
    directions = getattr(converted, f"{kind}_directions").reshape(3 * len(converted.template), -1).astype(float)
    variance = (directions**2).sum(0)
    assert (np.diff(variance) <= 1e-12).all()
    used = directions[:, variance > 1e-10 * variance[0]]
    gram = used.T @ used
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-5 * gram.max())
    for name in names:
        target = facekit[1][name].ravel() * 0.01
        left = target - used @ np.linalg.lstsq(used, target, rcond=None)[0]
        assert np.abs(left).max() < 2e-6


def test_the_variance_of_the_directions_is_that_of_the_weighted_meshes(
    facekit: tuple[Path, dict[str, np.ndarray]], converted: HeadModel
) -> None:
    total = (converted.shape_directions.astype(float) ** 2).sum()
    expected = 50 * sum(((facekit[1][f"identity00{k}"] * 0.01) ** 2).sum() for k in (0, 1))
    np.testing.assert_allclose(total, expected, rtol=1e-4)


def test_turning_the_jaw_by_the_hinges_angle_is_jaw_open(
    facekit: tuple[Path, dict[str, np.ndarray]], converted: HeadModel
) -> None:
    np.testing.assert_allclose(converted.joint_regressor[2] @ converted.template,
                               (HINGE - [0, 3.6, 8.0]) * 0.01 + [0, 0.0214, 0.0255], atol=2e-4)  # fmt: skip
    pose = torch.zeros(1, 15)
    pose[0, 6] = ANGLE
    posed = Flame(converted)(torch.zeros(1, 100), torch.zeros(1, 50), pose).vertices[0].numpy()
    np.testing.assert_allclose(posed - converted.template, facekit[1]["jawOpen"] * 0.01, atol=5e-5)


def test_landmarks_lie_on_facekits_vertices(converted: HeadModel) -> None:
    found = Flame(converted)(torch.zeros(1, 100), torch.zeros(1, 50), torch.zeros(1, 15)).landmarks[0].numpy()
    np.testing.assert_allclose(found, converted.template[list(_LANDMARKS)], atol=2e-4)


def test_what_is_missing_or_another_mesh_is_named(facekit: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vertex_indices\.json"):
        load_ict(tmp_path)
    for path in (facekit[0] / "FaceXModel").iterdir():
        os.link(path, tmp_path / path.name)
    (tmp_path / "identity042.obj").unlink()
    with pytest.raises(UserError, match=r"no file at .*identity042\.obj"):
        load_ict(tmp_path)
    (tmp_path / "identity042.obj").write_text("# short\nv 0 0 0\nv 1 0 0\nv 0 1 0\n")
    with pytest.raises(UserError, match="3 vertices, expected ICT-FaceKit's 26719"):
        load_ict(tmp_path)


def test_sphere_and_affine_weights(rng: np.random.Generator) -> None:
    points = rng.normal(size=(50, 3))
    sphere = points / np.linalg.norm(points, axis=1)[:, None] * 2 + [1, 2, 3]
    centre, radius = fit_sphere(sphere)
    np.testing.assert_allclose([*centre, radius], [1, 2, 3, 2], atol=1e-9)
    weights = affine_weights(points, np.array([0.3, -0.2, 0.1]))
    np.testing.assert_allclose([weights.sum(), *(weights @ points)], [1, 0.3, -0.2, 0.1], atol=1e-9)


@pytest.mark.skipif("MFNET_ICT_FACEKIT" not in os.environ, reason="MFNET_ICT_FACEKIT names no checkout")
def test_the_real_facekit() -> None:
    head = load_ict(os.environ["MFNET_ICT_FACEKIT"])
    flame = Flame(head)
    pose = torch.zeros(2, 15)
    pose[1, 6] = 0.25
    landmarks = flame(torch.zeros(2, 100), torch.zeros(2, 50), pose).landmarks.numpy()
    assert abs(landmarks[0, 45, 0] - landmarks[0, 36, 0] - 0.0892) < 1e-3
    assert landmarks[0, 30, 2] == landmarks[0, :, 2].max()
    assert landmarks[1, 62, 1] - landmarks[1, 66, 1] > 0.010
    assert (np.linalg.norm(head.expression_directions, axis=(0, 1)) > 1e-6).sum() == 52
    drawn = flame(torch.zeros(400, 100), torch.randn(400, 50), torch.zeros(400, 15)).landmarks
    lips = drawn[:, [61, 62, 63], 1] - drawn[:, [67, 66, 65], 1]
    # FaceKit's weights are one-sided, a Gaussian's are not, so some draws press the lips together.
    assert (lips.mean(1) < -0.005).float().mean() < 0.15

    corners = head.template[head.faces].mean(1)
    texel = (head.uv_coordinates[head.uv_faces].mean(1) * [1, -1] + [0, 1]) * len(head.albedo_mean)
    colour = head.albedo_mean[texel[:, 1].astype(int), texel[:, 0].astype(int)]
    side, height, depth = np.abs(corners[:, 0]), corners[:, 1], corners[:, 2]
    ears = (side > 0.080) & (np.abs(height - 0.01) < 0.02)
    cheeks = (np.abs(side - 0.035) < 0.01) & (np.abs(height + 0.02) < 0.01) & (depth > 0)
    assert np.abs(np.median(colour[ears], 0) - np.median(colour[cheeks], 0)).max() < 0.25
