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
from scipy.interpolate import RBFInterpolator

from mfnet.errors import UserError
from mfnet.head.embedding import Skin, at_vertices, contour_table
from mfnet.head.ict_rig import fit_sphere, rig
from mfnet.head.model import N_EXPRESSION, N_SHAPE, HeadModel
from mfnet.head.procedural import procedural_head
from mfnet.head.procedural.albedo import Canvas, paint_albedo, texel_positions

_N_VERTICES, _N_IDENTITIES = 26719, 100
_FACE, _NARROW_FACE, _BACK = slice(0, 9409), slice(0, 6706), slice(9409, 11248)
_TEETH = slice(17039, 21451)
# Of each eyeball the white comes first, 770 vertices, then the iris.
_EYES = {"left": slice(21451, 23021), "right": slice(23021, 24591)}
_N_WHITE = 770
_EYE_JOINTS = {"left": 3, "right": 4}
# FLAME's eyes, so that both heads stand in the same place (metres).
_EYES_MIDDLE = np.array([0.0, 0.0214, 0.0255])
_METRES = 0.01
_LID_RIM_M = 0.0006
# How strongly an expression is usually played, as a standard deviation of its weight in [0, 1].
_EXPRESSION_STRENGTH = 0.25
_JAW_OPEN, _LIPS_SHUT = "jawOpen", "mouthClose"
_EAR_BAND_M = 0.03
# Where each material's tile of the OBJs' texture space goes: u0, v0, width, height. What is seen of the person's
# halves are mirror images about u = 0.5, as the fused texture's mirrored half needs.
_CHARTS = {
    "M_Face": (0.2, 0.4, 0.6, 0.6), "M_BackHead": (0.3, 0.0, 0.4, 0.4),
    "M_ScleraLeft": (0.82, 0.22, 0.17, 0.17), "M_IrisLeft": (0.82, 0.02, 0.17, 0.17),
    "M_ScleraRight": (0.01, 0.22, 0.17, 0.17), "M_IrisRight": (0.01, 0.02, 0.17, 0.17),
}  # fmt: skip
_EYE_CHARTS_BELOW, _EYE_CHARTS_OUTSIDE = 0.4, 0.31
# The 68 landmarks as vertices, from FaceKit's README.
_LANDMARKS = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360,
    1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)  # fmt: skip


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
    has no skin, so it is painted as the procedural head's is.

    Args:
        folder: the checkout, or its FaceXModel folder.

    Raises:
        UserError: a file is missing or holds another mesh.
    """
    folder = Path(folder)
    folder = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    names = _expression_names(folder / "vertex_indices.json")
    neutral_path = folder / "generic_neutral_mesh.obj"
    raw = _vertices(neutral_path)
    white = {side: slice(eye.start, eye.start + _N_WHITE) for side, eye in _EYES.items()}
    middle = np.mean([fit_sphere(raw[white[side]])[0] for side in white], 0)

    def metres(path: Path) -> np.ndarray:
        return (_vertices(path) - middle) * _METRES + _EYES_MIDDLE

    neutral = metres(neutral_path)
    identities = [metres(folder / f"identity{index:03d}.obj") - neutral for index in range(_N_IDENTITIES)]
    expressions = {name: metres(folder / f"{name}.obj") - neutral for name in names}
    jaw_open = expressions.pop(_JAW_OPEN)
    if _LIPS_SHUT in expressions:
        expressions[_LIPS_SHUT] = expressions[_LIPS_SHUT] + jaw_open

    kept = np.r_[_FACE, _BACK, _EYES["left"], _EYES["right"]]
    place = np.full(_N_VERTICES, -1)
    place[kept] = np.arange(len(kept))
    topology = _topology(neutral_path, place)
    eyes = {side: place[eye] for side, eye in _EYES.items()}
    landmarks = place[list(_LANDMARKS)]
    template = neutral[kept]
    teeth = neutral[_TEETH], jaw_open[_TEETH]
    return HeadModel(
        template=template.astype(np.float32),
        faces=topology.faces,
        shape_directions=_directions(identities, kept, 1.0, N_SHAPE),
        expression_directions=_directions(list(expressions.values()), kept, _EXPRESSION_STRENGTH, N_EXPRESSION),
        **rig(template, jaw_open[kept], teeth, eyes, _N_WHITE, template[landmarks[8], 1]),
        **_landmark_tables(template, topology.faces, landmarks, eyes),
        uv_coordinates=topology.uv_coordinates.astype(np.float32),
        uv_faces=topology.uv_faces,
        **_skin_colour(template, topology, landmarks, eyes),
        regions=_regions(template, place, eyes),
    )


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
        found = int((table[0] == "v").sum())
        raise UserError(f"{path}: {found} vertices, expected ICT-FaceKit's {_N_VERTICES}")
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


def _directions(meshes: list[np.ndarray], kept: np.ndarray, strength: float, count: int) -> np.ndarray:
    """Orthogonal displacements [V, 3, count] of one standard deviation, if each mesh's weight has that strength."""
    stacked = strength * np.stack([mesh[kept].ravel() for mesh in meshes], 1)
    left, values, _ = np.linalg.svd(stacked, full_matrices=False)
    directions = np.zeros((len(stacked), count), np.float32)
    directions[:, : len(values)] = left * values
    return directions.reshape(len(kept), 3, count)


def _regions(template: np.ndarray, place: np.ndarray, eyes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The face without ears and neck, the eyeballs with the lid rims that touch them, and no mouth interior."""
    face = np.zeros(len(template), bool)
    face[place[_NARROW_FACE]] = True
    covered = np.zeros(len(template), bool)
    for index in eyes.values():
        centre, radius = fit_sphere(template[index[:_N_WHITE]])
        covered |= np.linalg.norm(template - centre, axis=1) < radius + _LID_RIM_M
        covered[index] = True
    return {"face": face, "eyes": covered, "mouth": np.zeros(len(template), bool)}


def _landmark_tables(
    template: np.ndarray, faces: np.ndarray, landmarks: np.ndarray, eyes: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    static_faces, static_weights = at_vertices(landmarks[17:], faces)
    millimetres = template * 1000
    axis_z = millimetres[landmarks[[0, 16]], 2].mean()
    azimuth = np.arctan2(millimetres[:, 0], millimetres[:, 2] - axis_z)
    azimuth[np.concatenate(list(eyes.values()))] = np.nan
    skin = Skin(millimetres, faces, azimuth, millimetres[:, 1], axis_z)
    contour = landmarks[:17]
    return {
        "static_landmark_faces": static_faces,
        "static_landmark_barycentric": static_weights.astype(np.float32),
        **contour_table(skin, azimuth[contour], skin.level[contour]),
    }


def _skull_points(template: np.ndarray, eyes: dict[str, np.ndarray]) -> np.ndarray:
    """Where any head is widest at the height of the eyes (both ears), highest and furthest back, [4, 3]."""
    level = template[np.concatenate(list(eyes.values())), 1].mean()
    beside = np.flatnonzero(np.abs(template[:, 1] - level) < _EAR_BAND_M)
    ears = beside[[template[beside, 0].argmax(), template[beside, 0].argmin()]]
    above = np.flatnonzero(template[:, 1] > level)
    return template[[*ears, template[:, 1].argmax(), above[template[above, 2].argmin()]]]


def _skin_colour(
    template: np.ndarray, topology: _Topology, landmarks: np.ndarray, eyes: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Albedo by the procedural head's brush, each texel taken to its place there by landmarks, ears and skull."""
    other = procedural_head(0)
    first = np.concatenate([other.contour_landmark_faces[0], other.static_landmark_faces])
    weights = np.concatenate([other.contour_landmark_barycentric[0], other.static_landmark_barycentric])
    there = (other.template[other.faces[first]] * weights[..., None]).sum(1)
    here = np.concatenate([template[landmarks], _skull_points(template, eyes)])
    other_eyes = {name: np.flatnonzero(other.skinning_weights[:, joint] == 1) for name, joint in _EYE_JOINTS.items()}
    there = 1000 * np.concatenate([there, _skull_points(other.template, other_eyes)])
    carry = RBFInterpolator(here, there, kernel="thin_plate_spline", smoothing=1e-6, degree=1)

    arrays = (topology.faces, topology.uv_coordinates, topology.uv_faces)
    positions = texel_positions(template, *arrays)
    side = len(positions)
    u, v = np.meshgrid((np.arange(side) + 0.5) / side, 1 - (np.arange(side) + 0.5) / side)
    eye = (v < _EYE_CHARTS_BELOW) & (np.abs(u - 0.5) > _EYE_CHARTS_OUTSIDE)
    angle = np.full(eye.shape, 180.0)
    for name, here in (("left", eye & (u > 0.5)), ("right", eye & (u < 0.5))):
        centre, _ = fit_sphere(template[eyes[name][:_N_WHITE]])
        outward = positions[here] - centre
        angle[here] = np.degrees(np.arccos(np.clip(outward[:, 2] / np.linalg.norm(outward, axis=1), -1, 1)))
    nowhere = np.zeros(eye.shape, bool)
    canvas = Canvas(carry(positions.reshape(-1, 3)).reshape(positions.shape), angle, eye, nowhere, nowhere)
    mean, basis = paint_albedo(canvas, np.random.default_rng(0))
    return {"albedo_mean": mean, "albedo_basis": basis}
