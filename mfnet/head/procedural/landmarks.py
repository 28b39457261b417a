"""The iBUG 68 landmarks on the procedural head, and the contour's slide along the cheek with the yaw."""

from __future__ import annotations

import numpy as np

from mfnet.head.model import N_CONTOUR_ROWS
from mfnet.head.procedural.topology import Slit, Topology

_BROW = ((48, 37), (42, 42.5), (34, 45), (25, 44.5), (14, 41))
_NOSE = ((0, 21), (0, 10), (0, -2.5), (0, -15.5), (-13, -29), (-7, -31), (0, -32), (7, -31), (13, -29))
_UPPER_LIP = ((-17, -52.5), (-6.5, -49), (0, -50), (6.5, -49), (17, -52.5))
_LOWER_LIP = ((15, -66), (7, -69.5), (0, -70.5), (-7, -69.5), (-15, -66))
_CONTOUR = (
    (84, 16), (82, -2), (79, -21), (74, -40), (67, -58), (57, -73), (43, -86), (22, -94), (0, -97),
)  # fmt: skip
_SILHOUETTE_FROM = np.radians(26.0)


def _locate(targets: np.ndarray, coordinates: np.ndarray, faces: np.ndarray, depth: np.ndarray) -> tuple:
    """Triangle and barycentrics of 2-D points on a flattened mesh; of several layers the one of greatest depth.

    targets [N, 2], coordinates [V, 2] with NaN off the chart, depth [V]; returns [N] and [N, 3].
    """
    usable = np.flatnonzero(np.isfinite(coordinates[faces]).all((1, 2)))
    a, b, c = (coordinates[faces[usable, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    spread = np.ptp(coordinates[faces[usable]], axis=1).max(1)
    valid = (np.abs(area) > 1e-9) & (spread < 0.5 * np.ptp(coordinates[np.isfinite(coordinates).all(1)], axis=0).max())
    usable, a, b, c, area = usable[valid], a[valid], b[valid], c[valid], area[valid]
    face_index, barycentric = [], []
    for p in targets:
        weight_b = ((p - a)[:, 0] * (c - a)[:, 1] - (p - a)[:, 1] * (c - a)[:, 0]) / area
        weight_c = ((b - a)[:, 0] * (p - a)[:, 1] - (b - a)[:, 1] * (p - a)[:, 0]) / area
        weights = np.stack([1 - weight_b - weight_c, weight_b, weight_c], -1)
        inside = np.flatnonzero(weights.min(1) >= -1e-6)
        height = (depth[faces[usable[inside]]] * weights[inside]).sum(1)
        best = inside[np.argmax(height)]
        face_index.append(usable[best])
        clipped = np.clip(weights[best], 0, 1)
        barycentric.append(clipped / clipped.sum())
    return np.array(face_index), np.array(barycentric)


def _at_vertices(indices: np.ndarray, faces: np.ndarray) -> tuple:
    """A landmark exactly on each given vertex: one of its triangles and a one-hot weight."""
    face_index = np.array([np.flatnonzero((faces == vertex).any(1))[0] for vertex in indices])
    return face_index, (faces[face_index] == np.asarray(indices)[:, None]).astype(float)


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
    faces, weights = _locate(targets, frontal, topology.faces, topology.vertices[:, 2])
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
    eye_faces, eye_weights = _at_vertices(np.array(eyes), topology.faces)
    corner_faces, corner_weights = _at_vertices(mouth.upper[[0, -1]], topology.faces)
    inner_faces, inner_weights = _at_vertices(np.array(inner), topology.faces)
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


def _contour_azimuths(topology: Topology, yaw: float) -> np.ndarray:
    """Azimuth [17] of each contour point: at rest on the jaw, on the far side pulled in to the silhouette."""
    at_rest = np.radians([-a for a, _ in _CONTOUR[:-1]] + [a for a, _ in _CONTOUR[::-1]])
    if yaw == 0:
        return at_rest
    levels = _contour_levels()
    side = np.sign(yaw)
    azimuths = at_rest.copy()
    skin = np.flatnonzero(np.isfinite(topology.azimuth))
    for point in range(17):
        if side * at_rest[point] <= _SILHOUETTE_FROM:
            continue
        near = skin[np.abs(topology.level[skin] - levels[point]) < 1.8]
        angle = side * topology.azimuth[near]
        near = near[(angle >= _SILHOUETTE_FROM) & (angle <= side * at_rest[point] + 1e-6)]
        turned_x = topology.vertices[near, 0] * np.cos(yaw) + topology.vertices[near, 2] * np.sin(yaw)
        best = np.argmax(side * turned_x)
        share = np.exp((side * turned_x - side * turned_x[best]) / 0.35)
        azimuths[point] = side * (share * side * topology.azimuth[near]).sum() / share.sum()
    return azimuths


def _contour_levels() -> np.ndarray:
    return np.array([y for _, y in _CONTOUR[:-1]] + [y for _, y in _CONTOUR[::-1]], float)


def embed_landmarks(topology: Topology) -> dict[str, np.ndarray]:
    """Static and yaw-dependent landmark tables, the four arrays that HeadModel takes."""
    static_faces, static_weights = _static_landmarks(topology)
    chart = np.column_stack([topology.azimuth * 60, topology.level])
    radius = np.linalg.norm(topology.vertices[:, [0, 2]] - [0, -45], axis=1)
    most = (N_CONTOUR_ROWS - 1) // 2
    rows = [*range(most + 1), *(-degree for degree in range(1, most + 1))]
    faces, weights = [], []
    for degree in rows:
        targets = np.column_stack([_contour_azimuths(topology, np.radians(degree)) * 60, _contour_levels()])
        row_faces, row_weights = _locate(targets, chart, topology.faces, radius)
        faces.append(row_faces)
        weights.append(row_weights)
    return {
        "static_landmark_faces": static_faces,
        "static_landmark_barycentric": static_weights.astype(np.float32),
        "contour_landmark_faces": np.stack(faces),
        "contour_landmark_barycentric": np.stack(weights).astype(np.float32),
    }
