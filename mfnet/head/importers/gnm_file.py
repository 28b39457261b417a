"""Google's GNM Head v3 as it is stored: `gnm_head.npz`, and the table of its 68 landmarks.

Layout: google/GNM, gnm/shape (README, gnm_xnp, gnm_data_loader), Apache 2.0. Metres, x to the person's left, y up, z
forward; joints neck, head, left_eye and right_eye.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mfnet.errors import UserError
from mfnet.head.archive import read_npz

JOINTS = ("neck", "head", "left_eye", "right_eye")
# Arrays that are read: what they count along each axis (names stand for one number throughout the file), and numpy's
# letters of the types that they may have.
_LAYOUT: dict[str, tuple[tuple[str | int, ...], str]] = {
    "template_vertex_positions": (("vertices", 3), "f"),
    "template_joint_positions": (("joints", 3), "f"),
    "vertex_identity_basis": (("identities", "vertices", 3), "f"),
    "expression_basis": (("expressions", "vertices", 3), "f"),
    "skinning_weights": (("joints", "vertices"), "f"),
    "pose_correctives_regressor": (("9 joints", "3 vertices"), "f"),
    "triangles": (("triangles", 3), "iu"),
    "triangle_uvs": (("triangles", 3, 2), "f"),
    "vertex_groups": (("groups", "vertices"), "fiub"),
}
_NAMES = {"joint_names": "joints", "expression_names": "expressions", "vertex_group_names": "groups"}
# Names in files before version 3.0 was settled, and what they are now.
_OLD_EXPRESSIONS = {"mouth_": "lower_face_region_"}
_OLD_GROUPS = {"lower_teeth": "lower_teeth_and_gums", "eyeball_exterior": "eye_exteriors"}
_OLD_EARS = ("left_ear", "right_ear")
_IN_GROUP = 0.5
_SUM_TOLERANCE = 1e-3
# The landmarks' weights are written with three decimals each.
_ROUNDED = 5e-3
# Eyes of adults are so far apart, metres; who has another unit lies far outside.
_EYES_APART = (0.04, 0.09)
_LANDMARK_FILE, _IN_CHECKOUT = "head_sparse_68.txt", Path("../../landmarks")


class GnmFile(NamedTuple):
    """What a head is made from; metres.

    template [V, 3]; joints [4, 3] in the order of `JOINTS`; identities [I, V, 3], expressions [E, V, 3]: displacements
    of one standard deviation; expression_names [E]; weights [V, 4]; correctives [4, 9, V, 3]: displacements per entry
    of R - I of each joint; triangles [F, 3]; triangle_uvs [F, 3, 2]; groups: name -> [V] bool.
    """

    template: np.ndarray
    joints: np.ndarray
    identities: np.ndarray
    expressions: np.ndarray
    expression_names: list[str]
    weights: np.ndarray
    correctives: np.ndarray
    triangles: np.ndarray
    triangle_uvs: np.ndarray
    groups: dict[str, np.ndarray]


def read_gnm(path: Path) -> GnmFile:
    """Read and check `gnm_head.npz`.

    Raises:
        UserError: no file, another file, or an array that is not what it should be.
    """
    arrays = _arrays(path)
    sizes = _checked(arrays, path)
    names = {key: _texts(arrays[key], key, sizes[count], path) for key, count in _NAMES.items()}
    for joint in JOINTS:
        if joint not in names["joint_names"]:
            raise UserError(f"{path}: joint_names has no {joint}; expected {', '.join(JOINTS)}")
    order = [names["joint_names"].index(joint) for joint in JOINTS]
    joints = arrays["template_joint_positions"][order].astype(np.float64)
    apart = joints[2, 0] - joints[3, 0]
    if not _EYES_APART[0] < apart < _EYES_APART[1]:
        raise UserError(
            f"{path}: the left eye lies {apart:.3g} to the left of the right one; expected 0.06 metres or so"
        )
    weights = arrays["skinning_weights"].astype(np.float64)
    if np.abs(weights.sum(0) - 1).max() > _SUM_TOLERANCE or set(range(len(weights))) != set(order):
        raise UserError(f"{path}: skinning_weights are not four joints' shares that sum to one at each vertex")
    n_vertices = sizes["vertices"]
    groups = {
        _OLD_GROUPS.get(name, name): values > _IN_GROUP
        for name, values in zip(names["vertex_group_names"], arrays["vertex_groups"], strict=True)
    }
    if "ears" not in groups and all(ear in groups for ear in _OLD_EARS):
        groups["ears"] = groups[_OLD_EARS[0]] | groups[_OLD_EARS[1]]
    return GnmFile(
        template=arrays["template_vertex_positions"].astype(np.float64),
        joints=joints,
        identities=arrays["vertex_identity_basis"].astype(np.float64),
        expressions=arrays["expression_basis"].astype(np.float64),
        expression_names=[_renamed(name, _OLD_EXPRESSIONS) for name in names["expression_names"]],
        weights=weights[order].T,
        correctives=arrays["pose_correctives_regressor"].reshape(-1, 9, n_vertices, 3)[order],
        triangles=arrays["triangles"].astype(np.int64),
        triangle_uvs=arrays["triangle_uvs"].astype(np.float64),
        groups=groups,
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(f"convert gnm: no file at {path}; gnm_head.npz is downloaded from github.com/google/GNM")
    arrays = read_npz(path, "gnm_head.npz of GNM Head v3")
    missing = [name for name in (*_LAYOUT, *_NAMES) if name not in arrays]
    if missing:
        raise UserError(f"{path}: lacks {missing[0]}; expected gnm_head.npz of GNM Head v3")
    return arrays


def _checked(arrays: dict[str, np.ndarray], path: Path) -> dict[str, int]:
    """The counts of the file, once every array agrees with them."""
    sizes: dict[str, int] = {}
    for name, (axes, kinds) in _LAYOUT.items():
        array = arrays[name]
        for axis in axes:
            if isinstance(axis, str) and axis not in sizes and array.ndim == len(axes):
                sizes[axis] = array.shape[axes.index(axis)]
                sizes |= {"9 joints": 9 * sizes.get("joints", 0), "3 vertices": 3 * sizes.get("vertices", 0)}
        expected = tuple(sizes.get(axis, 0) if isinstance(axis, str) else axis for axis in axes)
        if array.shape != expected:
            raise UserError(f"{path}: {name} has shape {array.shape}, expected {expected}")
        if array.dtype.kind not in kinds or not np.isfinite(array).all():
            raise UserError(f"{path}: {name} does not hold finite {'indices' if kinds == 'iu' else 'numbers'}")
    triangles = arrays["triangles"]
    if not len(triangles) or not 0 <= triangles.min() <= triangles.max() < sizes["vertices"]:
        raise UserError(f"{path}: triangles do not refer to vertices 0..{sizes['vertices'] - 1}")
    return sizes


def _texts(array: np.ndarray, name: str, count: int, path: Path) -> list[str]:
    if array.shape != (count,) or array.dtype.kind not in "US":
        raise UserError(f"{path}: {name} is not {count} names")
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in array]


def _renamed(name: str, prefixes: dict[str, str]) -> str:
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def read_landmarks(path: Path | None, head_path: Path, n_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """The 68 landmarks as vertices [68, 3] and their weights [68, 3].

    Args:
        path: `head_sparse_68.txt`, rows of vertex and weight, three times; None looks for it beside the head and where
            GNM's checkout has it.
        head_path: of `gnm_head.npz`.
        n_vertices: of the head.
    """
    places = [path] if path else [head_path.parent / _LANDMARK_FILE, head_path.parent / _IN_CHECKOUT / _LANDMARK_FILE]
    known = [place for place in places if place.is_file()]
    if not known:
        raise UserError(f"convert gnm: no file at {places[0]}; name GNM's {_LANDMARK_FILE} with --landmarks")
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            table = np.loadtxt(known[0], ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{known[0]}: not a table of numbers ({error}); expected GNM's {_LANDMARK_FILE}") from error
    if table.shape != (68, 6) or not np.isfinite(table).all():
        raise UserError(f"{known[0]}: has shape {table.shape}, expected 68 rows of vertex and weight, three times")
    vertices, weights = table[:, ::2], table[:, 1::2]
    wrong = (vertices != np.round(vertices)) | (vertices < 0) | (vertices >= n_vertices)
    if wrong.any():
        raise UserError(f"{known[0]}: names vertex {vertices[wrong][0]:g}, expected whole numbers 0..{n_vertices - 1}")
    total = weights.sum(1, keepdims=True)
    if weights.min() < -_ROUNDED or np.abs(total - 1).max() > _ROUNDED:
        raise UserError(f"{known[0]}: the weights of landmark {np.abs(total - 1).argmax()} do not sum to one")
    return vertices.astype(np.int64), weights / total
