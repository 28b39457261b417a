"""Where the iBUG 68 landmarks lie on the procedural head."""

from __future__ import annotations

import numpy as np

from mfnet.head.embedding import Skin, at_vertices, contour_table, locate
from mfnet.head.procedural.topology import Slit, Topology

_BROW = ((48, 37), (42, 42.5), (34, 45), (25, 44.5), (14, 41))
_NOSE = ((0, 21), (0, 10), (0, -2.5), (0, -15.5), (-13, -29), (-7, -31), (0, -32), (7, -31), (13, -29))
_UPPER_LIP = ((-17, -52.5), (-6.5, -49), (0, -50), (6.5, -49), (17, -52.5))
_LOWER_LIP = ((15, -66), (7, -69.5), (0, -70.5), (-7, -69.5), (-15, -66))
_CONTOUR = (
    (84, 16), (82, -2), (79, -21), (74, -40), (67, -58), (57, -73), (43, -86), (22, -94), (0, -97),
)  # fmt: skip
_AXIS_Z = -45.0


def _lid_points(slit: Slit, upper: bool) -> list[int]:
    chain = slit.upper if upper else slit.lower
    last = len(chain) - 1
    return [int(chain[round(last / 3)]), int(chain[round(2 * last / 3)])]


def _static_landmarks(topology: Topology) -> tuple:
    """Landmarks 17..67: brows, nose, eyes (on the slits), outer lips, inner lips (on the slit)."""
    frontal = topology.vertices[:, :2].copy()
    frontal[np.isnan(topology.azimuth)] = np.nan
    brows = [(-x, y) for x, y in _BROW] + list(_BROW)[::-1]
    targets = np.array([*brows, *_NOSE, *_UPPER_LIP, *_LOWER_LIP], float)
    faces, weights = locate(targets, frontal, topology.faces, topology.vertices[:, 2])
    right, left, mouth = topology.right_eye, topology.left_eye, topology.mouth
    eyes = [
        right.upper[0], *_lid_points(right, True), right.upper[-1], *_lid_points(right, False)[::-1],
        left.upper[0], *_lid_points(left, True), left.upper[-1], *_lid_points(left, False)[::-1],
    ]  # fmt: skip
    last = len(mouth.upper) - 1
    quarter = [round(last * share) for share in (0.28, 0.5, 0.72)]
    inner = [
        mouth.upper[1], *mouth.upper[quarter], mouth.upper[-2], *mouth.lower[quarter[::-1]],
    ]  # fmt: skip
    eye_faces, eye_weights = at_vertices(np.array(eyes), topology.faces)
    corner_faces, corner_weights = at_vertices(mouth.upper[[0, -1]], topology.faces)
    inner_faces, inner_weights = at_vertices(np.array(inner), topology.faces)
    order = [
        (faces[:19], weights[:19]),
        (eye_faces, eye_weights),
        (corner_faces[:1], corner_weights[:1]),
        (faces[19:24], weights[19:24]),
        (corner_faces[1:], corner_weights[1:]),
        (faces[24:29], weights[24:29]),
        (inner_faces, inner_weights),
    ]
    return np.concatenate([part[0] for part in order]), np.concatenate([part[1] for part in order])


def embed_landmarks(topology: Topology) -> dict[str, np.ndarray]:
    """Static and yaw-dependent landmark tables, the four arrays that HeadModel takes."""
    static_faces, static_weights = _static_landmarks(topology)
    skin = Skin(topology.vertices, topology.faces, topology.azimuth, topology.level, _AXIS_Z)
    azimuth = np.radians([-a for a, _ in _CONTOUR[:-1]] + [a for a, _ in _CONTOUR[::-1]])
    level = np.array([y for _, y in _CONTOUR[:-1]] + [y for _, y in _CONTOUR[::-1]], float)
    return {
        "static_landmark_faces": static_faces,
        "static_landmark_barycentric": static_weights.astype(np.float32),
        **contour_table(skin, azimuth, level),
    }
