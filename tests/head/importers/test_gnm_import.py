"""A file in GNM's layout made of the packaged head, whose jaw, neck and landmarks are known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mfnet import cli
from mfnet.errors import UserError
from mfnet.head import Flame, HeadModel
from mfnet.head.importers import gnm as importer
from mfnet.head.importers.gnm import load_gnm
from mfnet.head.importers.gnm_file import read_gnm

N_TEETH = 40
HINGE = np.array([0.0, -0.012, -0.035])
# Radians by which each lower-face direction opens the jaw.
TURNS = np.array([0.08, -0.05, 0.03, 0.0, 0.0, 0.0])
# The contour as one of GNM's tables has it.
CONTOUR = [0, 1, 6, 5, 4, 3, 2, *range(7, 17)]
LANDMARKS = "head_sparse_68.txt"


def turned_about_x(points: np.ndarray) -> np.ndarray:
    """Displacement per radian of a small turn about x through the hinge."""
    y, z = (points - HINGE)[:, 1:].T
    return np.column_stack([np.zeros(len(points)), -z, y])


def with_rest(directions: np.ndarray, total: int) -> np.ndarray:
    """Directions of the packaged head [4570, 3, K] as [K, total, 3]; what comes after it stays."""
    full = np.zeros((directions.shape[2], total, 3))
    full[:, : len(directions)] = np.moveaxis(directions, -1, 0)
    return full


def gnm_expressions(head: HeadModel, template: np.ndarray) -> np.ndarray:
    """The packaged head's first 21, of which those of the lower face turn jaw and lower teeth as well."""
    n = len(head.template)
    jaw = turned_about_x(template)
    jaw[:n] *= head.skinning_weights[:, [2]]
    jaw[n + N_TEETH :] = 0
    expressions = with_rest(head.expression_directions[..., :21], len(template))
    expressions[8 : 8 + len(TURNS)] += TURNS[:, None, None] * jaw
    return expressions


def gnm_groups(head: HeadModel, total: int) -> dict[str, np.ndarray]:
    n = len(head.template)
    eyes, tongue = head.skinning_weights[:, 3:].max(1) > 0.5, np.zeros(n, bool)
    tongue[4200:4426] = True
    masks = {
        "skin": ~eyes & ~tongue, "eye_exteriors": eyes, "tongue": tongue, "eye_sockets": head.regions["eyes"] & ~eyes,
        "mouth_sock": head.regions["mouth"] & ~tongue, "ears": head.regions["ears"],
    }  # fmt: skip
    groups = {name: np.r_[mask, np.zeros(total - n, bool)] for name, mask in masks.items()}
    groups["lower_teeth_and_gums"] = (np.arange(total) >= n) & (np.arange(total) < n + N_TEETH)
    return groups


def gnm_arrays(head: HeadModel, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Skin, eyes and tongue are the packaged head's; two rows of teeth and the eyes' insides come after them."""
    n = len(head.template)
    teeth = rng.normal(size=(N_TEETH, 3)) * [0.02, 0.003, 0.008] + [0, -0.045, 0.05]
    template = np.concatenate([head.template, teeth, teeth + [0, 0.01, 0], head.template[-10:]])
    total, groups = len(template), gnm_groups(head, len(template))
    names = [f"left_eye_region_{k}" for k in range(4)] + [f"right_eye_region_{k}" for k in range(4)]
    names += [f"lower_face_region_{k}" for k in range(len(TURNS))] + [f"tongue_{k}" for k in range(6)] + ["pupils_0"]
    own = head.skinning_weights
    weights = np.zeros((4, total))
    weights[:, :n] = np.stack([own[:, 0], own[:, 1:3].sum(1), own[:, 3], own[:, 4]])
    weights[1, n:-10], weights[3, -10:] = 1, 1
    correctives = np.zeros((4, 9, total, 3))
    correctives[1, :, :n] = np.moveaxis(head.pose_directions[..., :9], -1, 0)
    return {
        "template_vertex_positions": template.astype(np.float32),
        "template_joint_positions": (head.joint_regressor @ head.template)[[0, 1, 3, 4]].astype(np.float32),
        "vertex_identity_basis": with_rest(head.shape_directions[..., :12], total).astype(np.float32),
        "expression_basis": gnm_expressions(head, template).astype(np.float32),
        "skinning_weights": weights.astype(np.float32),
        "pose_correctives_regressor": correctives.reshape(36, -1).astype(np.float32),
        "triangles": head.faces.astype(np.int32),
        "triangle_uvs": head.uv_coordinates[head.uv_faces].astype(np.float32),
        "vertex_groups": np.stack(list(groups.values())).astype(np.float32),
        "vertex_group_names": np.array(list(groups)),
        "joint_names": np.array(["neck", "head", "left_eye", "right_eye"]),
        "expression_names": np.array(names),
        "version": np.array("3.0"),
    }


def landmark_table(head: HeadModel) -> np.ndarray:
    faces = np.r_[head.contour_landmark_faces[0], head.static_landmark_faces]
    weights = np.concatenate([head.contour_landmark_barycentric[0], head.static_landmark_barycentric])
    table = np.empty((68, 6))
    # GNM writes three decimals, so that rows sum to one within a thousandth and a half.
    table[:, ::2], table[:, 1::2] = head.faces[faces], np.round(weights, 3)
    return table[[*CONTOUR, *range(17, 68)]]


@pytest.fixture(scope="module")
def arrays(head: HeadModel) -> dict[str, np.ndarray]:
    return gnm_arrays(head, np.random.default_rng(0))


@pytest.fixture(scope="module")
def folder(head: HeadModel, arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gnm")
    np.savez(folder / "gnm_head.npz", **arrays)
    np.savetxt(folder / LANDMARKS, landmark_table(head))
    return folder


@pytest.fixture(scope="module")
def converted(folder: Path) -> tuple[HeadModel, float]:
    return load_gnm(folder / "gnm_head.npz")


def kept(head: HeadModel) -> np.ndarray:
    """The packaged head's vertices that come through: all but the tongue."""
    return np.r_[0:4200, 4426:4570]


def test_shape_and_surface_come_through(converted: tuple[HeadModel, float], head: HeadModel) -> None:
    made = converted[0]
    index = kept(head)
    np.testing.assert_allclose(made.template, head.template[index], atol=1e-6)
    scale = np.abs(head.shape_directions[..., :12]).max()
    inner = head.shape_directions[index][..., :12].reshape(-1, 12)
    # The twelve directions span the same space: without the tongue they are turned among each other a little.
    solved = np.linalg.lstsq(made.shape_directions[..., :12].reshape(-1, 12), inner, rcond=None)[0]
    assert np.abs(made.shape_directions[..., :12].reshape(-1, 12) @ solved - inner).max() < 1e-3 * scale
    assert not made.shape_directions[..., 12:].any()
    for region in ("eyes", "ears"):
        np.testing.assert_array_equal(made.regions[region], head.regions[region][index])
    lit = made.regions["face"] & head.regions["face"][index]
    assert lit.sum() > 0.8 * head.regions["face"].sum()


def test_landmarks_lie_where_the_table_has_them_and_the_contour_runs_from_ear_to_ear(
    converted: tuple[HeadModel, float], head: HeadModel
) -> None:
    zero, still = torch.zeros(1, 100), torch.zeros(1, 15)
    made, expected = (Flame(one, 100, 100)(zero, zero, still).landmarks[0] for one in (converted[0], head))
    assert (made[17:] - expected[17:]).norm(dim=1).max() < 1e-4
    assert (made[:17] - expected[:17]).norm(dim=1).max() < 2e-3


def test_the_jaw_is_found_in_the_lower_face_and_turns_by_its_joint(
    converted: tuple[HeadModel, float], arrays: dict[str, np.ndarray], head: HeadModel
) -> None:
    made = converted[0]
    joint = made.joint_regressor @ made.template
    np.testing.assert_allclose(joint[2], HINGE, atol=2e-3)
    angle = 0.15
    pose = torch.zeros(1, 15)
    pose[0, 6] = angle
    flame = Flame(made, 100, 100)
    opened = (flame(torch.zeros(1, 100), torch.zeros(1, 100), pose).vertices[0] - flame.template).numpy()
    # What the file's lower face does when the teeth turn so far, as a straight line where the joint's is an arc.
    unit = TURNS / np.linalg.norm(TURNS)
    field = np.tensordot(unit, arrays["expression_basis"][8:14], 1)[kept(head)]
    asked = field * angle / np.linalg.norm(TURNS)
    error = np.linalg.norm(opened - asked, axis=1)
    assert np.linalg.norm(asked, axis=1).max() > 0.01
    assert error.max() < 0.1 * np.linalg.norm(asked, axis=1).max()
    # No expression opens it as well: of the file's 21 directions one is gone.
    assert np.linalg.matrix_rank(made.expression_directions.reshape(-1, 100).astype(float)) == 20


def test_the_neck_bends_as_in_the_file(converted: tuple[HeadModel, float], head: HeadModel) -> None:
    zero, pose = torch.zeros(1, 100), torch.zeros(1, 15)
    pose[0, 3:6] = torch.tensor([0.2, 0.3, -0.1])
    made, expected = (Flame(one, 100, 100)(zero, zero, pose).vertices[0] for one in (converted[0], head))
    assert (made - expected[kept(head)]).norm(dim=1).max() < 2e-3


def test_the_order_of_joints_and_of_corners_does_not_matter(
    arrays: dict[str, np.ndarray], folder: Path, tmp_path: Path, converted: tuple[HeadModel, float], unpainted: None
) -> None:
    order = [2, 0, 3, 1]
    correctives = arrays["pose_correctives_regressor"].reshape(4, 9, -1)[order].reshape(36, -1)
    other = arrays | {
        name: arrays[name][order] for name in ("joint_names", "template_joint_positions", "skinning_weights")
    }
    other |= {"pose_correctives_regressor": correctives, "triangles": arrays["triangles"][:, ::-1],
              "triangle_uvs": arrays["triangle_uvs"][:, ::-1]}  # fmt: skip
    np.savez(tmp_path / "gnm_head.npz", **other)
    made, expected = load_gnm(tmp_path / "gnm_head.npz", folder / LANDMARKS)[0], converted[0]
    assert made.fingerprint == expected.fingerprint
    pose = torch.tensor([[0.0, 0, 0, 0.1, 0.2, 0, 0.1, 0, 0, 0, 0.3, 0, 0, 0.3, 0]])
    both = [Flame(one, 100, 100)(torch.zeros(1, 100), torch.zeros(1, 100), pose).vertices for one in (made, expected)]
    torch.testing.assert_close(*both)


def test_skin_and_eyes_lie_side_by_side_in_the_texture(converted: tuple[HeadModel, float]) -> None:
    made = converted[0]
    corners = made.uv_coordinates[made.uv_faces]
    assert corners.min() >= 0
    assert corners.max() <= 1
    in_eye = [(made.skinning_weights[made.faces, joint] > 0.5).all(1) for joint in (3, 4)]
    skin = corners[~in_eye[0] & ~in_eye[1]]
    assert skin[..., 1].min() > max(corners[eye][..., 1].max() for eye in in_eye)
    assert corners[in_eye[0]][..., 0].min() > corners[in_eye[1]][..., 0].max()
    # The skin's own layout is only moved and stretched: what was upright still is.
    height = made.template[made.faces, 1]
    face = made.regions["face"][made.faces].all(1)
    assert np.corrcoef(height[face].ravel(), corners[face][..., 1].ravel())[0, 1] > 0.9


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The brush takes half a minute and is the same for every head."""
    monkeypatch.setattr(importer, "painted", lambda head, brush_head: head)


def test_the_command_says_what_the_expressions_lose(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unpainted: None
) -> None:
    cli.main(["convert", "gnm", str(folder / "gnm_head.npz"), str(tmp_path / "head.npz")])
    printed = capsys.readouterr().out
    assert "100 directions hold 100.0% of the variance beside the jaw's, 0.0% is lost" in printed
    assert HeadModel.load(tmp_path / "head.npz").fingerprint in printed


def with_changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict], dict]:
    return lambda arrays: arrays | {name: change(arrays[name].copy())}


def not_finite(array: np.ndarray) -> np.ndarray:
    array[0] = np.nan
    return array


WRONG: dict[str, tuple[Callable[[dict], dict], str]] = {
    "an array is missing": (lambda a: {k: v for k, v in a.items() if k != "vertex_groups"}, "lacks vertex_groups"),
    "pickled names": (with_changed("joint_names", lambda a: a.astype(object)), "holds pickled objects"),
    "names that are none": (with_changed("joint_names", lambda a: np.arange(len(a))), "joint_names is not 4 names"),
    "too few vertices": (with_changed("expression_basis", lambda a: a[:, 1:]), "expression_basis has shape"),
    "one dimension less": (with_changed("vertex_groups", lambda a: a[0]), "vertex_groups has shape"),
    "not finite": (with_changed("vertex_identity_basis", not_finite), "does not hold finite numbers"),
    "no indices": (with_changed("triangles", lambda a: a.astype(float)), "does not hold finite indices"),
    "beyond the vertices": (with_changed("triangles", lambda a: a + 10**6), "do not refer to vertices"),
    "centimetres": (with_changed("template_joint_positions", lambda a: 100 * a), "expected 0.06 metres"),
    "shares above one": (with_changed("skinning_weights", lambda a: 2 * a), "sum to one"),
    "no such joint": (with_changed("joint_names", lambda a: np.roll(np.append(a[1:], "a"), 1)), "no neck"),
    "no teeth": (
        with_changed("vertex_group_names", lambda a: np.where(a == "lower_teeth_and_gums", "gums", a)),
        "no lower_teeth_and_gums",
    ),
    "no lower face": (with_changed("expression_names", lambda a: np.array(["pupils"] * len(a))), "lower_face_region_"),
    "one eye": (
        with_changed("vertex_groups", lambda a: a * ~((a[1:2] > 0) & (np.arange(a.shape[1]) < 4498))),
        "the left eye has no triangle",
    ),
    "a jaw that stays": (with_changed("expression_basis", lambda a: 0 * a), "opens the jaw"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_ends_in_one_line(kind: str, arrays: dict[str, np.ndarray], folder: Path, tmp_path: Path) -> None:
    change, expected = WRONG[kind]
    np.savez(tmp_path / "gnm_head.npz", **change(arrays))
    with pytest.raises(UserError, match=expected) as raised:
        load_gnm(tmp_path / "gnm_head.npz", folder / LANDMARKS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda table: table[:60], "68 rows"),
        (lambda table: table + [0.5, 0, 0, 0, 0, 0], "names vertex .*[.]5, expected whole numbers"),
        (lambda table: table - [10**4, 0, 0, 0, 0, 0], "names vertex -"),
        (lambda table: table * [1, 0.5, 1, 1, 1, 1], "do not sum to one"),
        (lambda table: table[::-1], "not iBUG's"),
        (lambda table: np.where(np.arange(6) % 2, table, 4300), "teeth, tongue"),
    ],
)
def test_a_wrong_landmark_table_ends_in_one_line(
    change: Callable[[np.ndarray], np.ndarray], expected: str, folder: Path, head: HeadModel, tmp_path: Path
) -> None:
    np.savetxt(tmp_path / "table.txt", change(landmark_table(head)))
    with pytest.raises(UserError, match=expected):
        load_gnm(folder / "gnm_head.npz", tmp_path / "table.txt")


def test_without_the_landmark_table_the_option_is_named(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    np.savez(tmp_path / "gnm_head.npz", **arrays)
    with pytest.raises(UserError, match="--landmarks"):
        load_gnm(tmp_path / "gnm_head.npz")
    with pytest.raises(UserError, match="no file at"):
        load_gnm(tmp_path / "other.npz")


def test_names_of_older_files_are_known(arrays: dict[str, np.ndarray], folder: Path, tmp_path: Path) -> None:
    older = arrays | {
        "expression_names": np.char.replace(arrays["expression_names"], "lower_face_region_", "mouth_"),
        "vertex_group_names": np.char.replace(arrays["vertex_group_names"], "lower_teeth_and_gums", "lower_teeth"),
        "vertex_groups": arrays["vertex_groups"] > 0.5,
    }
    ears = np.flatnonzero(older["vertex_group_names"] == "ears")[0]
    older["vertex_group_names"] = np.append(older["vertex_group_names"], "right_ear")
    older["vertex_group_names"][ears] = "left_ear"
    left = arrays["template_vertex_positions"][:, 0] > 0
    both = older["vertex_groups"][ears].copy()
    older["vertex_groups"] = np.concatenate([older["vertex_groups"], both[None] & ~left])
    older["vertex_groups"][ears] &= left
    np.savez(tmp_path / "gnm_head.npz", **older)
    content = read_gnm(tmp_path / "gnm_head.npz")
    assert "lower_face_region_0" in content.expression_names
    assert content.groups["lower_teeth_and_gums"].sum() == N_TEETH
    np.testing.assert_array_equal(content.groups["ears"], both)
