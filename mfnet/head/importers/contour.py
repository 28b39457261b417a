"""Landmarks as points on triangles, and the contour's slide along the cheek with the yaw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from trimesh.triangles import closest_point, points_to_barycentric

from mfnet.errors import UserError
from mfnet.head.model import N_CONTOUR_ROWS

_SILHOUETTE_FROM = np.radians(26.0)
_SAME_LEVEL_MM = 1.8
_SOFTNESS_MM = 0.35
_CHART_MM_PER_RADIAN = 60.0


class Skin(NamedTuple):
    """A head's surface unrolled about its vertical axis.

    vertices [V, 3] millimetres, faces [F, 3], azimuth [V] radians from straight ahead (+ to the person's left, NaN
    off the skin), level [V] millimetres of height, axis_z: where that axis stands.
    """

    vertices: np.ndarray
    faces: np.ndarray
    azimuth: np.ndarray
    level: np.ndarray
    axis_z: float


class _Flat(NamedTuple):
    """Triangles of a flattened mesh, ready for the question which of them hold a point."""

    usable: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    area: np.ndarray

    @staticmethod
    def of(coordinates: np.ndarray, faces: np.ndarray) -> _Flat:
        usable = np.flatnonzero(np.isfinite(coordinates[faces]).all((1, 2)))
        a, b, c = (coordinates[faces[usable, k]] for k in range(3))
        area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
        spread = np.ptp(coordinates[faces[usable]], axis=1).max(1)
        extent = np.ptp(coordinates[np.isfinite(coordinates).all(1)], axis=0).max()
        valid = (np.abs(area) > 1e-9) & (spread < 0.5 * extent)
        return _Flat(usable[valid], a[valid], b[valid], c[valid], area[valid])

    def holding(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Triangles [N] that hold a point [2], and its barycentrics [N, 3] in them."""
        a, b, c = self.a, self.b, self.c
        weight_b = ((p - a)[:, 0] * (c - a)[:, 1] - (p - a)[:, 1] * (c - a)[:, 0]) / self.area
        weight_c = ((b - a)[:, 0] * (p - a)[:, 1] - (b - a)[:, 1] * (p - a)[:, 0]) / self.area
        weights = np.stack([1 - weight_b - weight_c, weight_b, weight_c], -1)
        inside = np.flatnonzero(weights.min(1) >= -1e-6)
        clipped = np.clip(weights[inside], 0, 1)
        return self.usable[inside], clipped / clipped.sum(1, keepdims=True)


def locate(
    targets: np.ndarray, coordinates: np.ndarray, faces: np.ndarray, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Triangle and barycentrics of 2-D points on a flattened mesh; of several layers the one of greatest depth.

    Args:
        targets: [N, 2].
        coordinates: [V, 2] with NaN off the chart.
        faces: [F, 3].
        depth: [V].

    Returns:
        [N] triangles and [N, 3] barycentrics.
    """
    flat = _Flat.of(coordinates, faces)
    face_index, barycentric = [], []
    for target in targets:
        holding, weights = flat.holding(target)
        if not len(holding):
            raise UserError("head model: the contour leaves the skin; expected landmarks 0 to 16 on the face's jaw")
        best = np.argmax((depth[faces[holding]] * weights).sum(1))
        face_index.append(holding[best])
        barycentric.append(weights[best])
    return np.array(face_index), np.array(barycentric)


def on_edges(edges: Sequence[tuple], faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks at vertices, `(a,)`, or on edges, `(a, b, share of b)`: triangles [N] and barycentrics [N, 3]."""
    face_index, barycentric = [], []
    for a, *rest in edges:
        b, share = rest or (a, 0.0)
        holding = np.flatnonzero((faces == a).any(1) & (faces == b).any(1))
        assert len(holding), f"{a} and {b} are no edge"
        corners = faces[holding[0]]
        face_index.append(holding[0])
        barycentric.append((corners == a) * (1 - share) + (corners == b) * share)
    return np.array(face_index), np.array(barycentric)


def on_surface(
    points: np.ndarray, neighbours: np.ndarray, template: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks at the nearest places of the surface: triangles [N] and barycentrics [N, 3].

    Args:
        points: [N, 3] where they belong.
        neighbours: [N, K] vertices; a landmark comes to lie on a triangle that has one of its own.
        template: [V, 3].
        faces: [F, 3].
    """
    face_index, barycentric = [], []
    for point, near in zip(points, neighbours, strict=True):
        holding = np.flatnonzero(np.isin(faces, near).any(1))
        triangles = template[faces[holding]]
        places = closest_point(triangles, np.broadcast_to(point, (len(holding), 3)))
        best = int(np.linalg.norm(places - point, axis=1).argmin())
        weights = np.clip(points_to_barycentric(triangles[[best]], places[[best]])[0], 0, 1)
        face_index.append(holding[best])
        barycentric.append(weights / weights.sum())
    return np.array(face_index), np.array(barycentric)


def _slide(skin: Skin, rest_azimuth: np.ndarray, rest_level: np.ndarray, yaw: float) -> np.ndarray:
    """Azimuth [17] of each contour point: at rest on the jaw, on the far side pulled in to the silhouette."""
    azimuths = rest_azimuth.copy()
    side = np.sign(yaw)
    on_skin = np.flatnonzero(np.isfinite(skin.azimuth))
    for point in np.flatnonzero(side * rest_azimuth > _SILHOUETTE_FROM):
        near = on_skin[np.abs(skin.level[on_skin] - rest_level[point]) < _SAME_LEVEL_MM]
        angle = side * skin.azimuth[near]
        near = near[(angle >= _SILHOUETTE_FROM) & (angle <= side * rest_azimuth[point] + 1e-6)]
        if not len(near):
            continue
        turned_x = skin.vertices[near, 0] * np.cos(yaw) + skin.vertices[near, 2] * np.sin(yaw)
        share = np.exp((side * turned_x - (side * turned_x).max()) / _SOFTNESS_MM)
        azimuths[point] = side * (share * side * skin.azimuth[near]).sum() / share.sum()
    return azimuths


def landmark_tables(
    template: np.ndarray, faces: np.ndarray, landmarks: tuple[np.ndarray, np.ndarray], off_skin: np.ndarray,
    axis_z_mm: float,
) -> dict[str, np.ndarray]:  # fmt: skip
    """iBUG's 68 landmarks as HeadModel has them: 51 that stay, and the contour's slide.

    Args:
        template: [V, 3] metres.
        faces: [F, 3].
        landmarks: triangles [68] and barycentrics [68, 3] on a head that looks ahead, the contour on its jaw.
        off_skin: [V] bool: where no contour is, such as on eyeballs.
        axis_z_mm: where the vertical axis stands about which the skin is unrolled.
    """
    index, weights = landmarks
    millimetres = 1000 * template
    azimuth = np.arctan2(millimetres[:, 0], millimetres[:, 2] - axis_z_mm)
    skin = Skin(millimetres, faces, np.where(off_skin, np.nan, azimuth), millimetres[:, 1], axis_z_mm)
    jaw = (millimetres[faces[index[:17]]] * weights[:17, :, None]).sum(1)
    return {
        "static_landmark_faces": index[17:],
        "static_landmark_barycentric": weights[17:].astype(np.float32),
        **contour_table(skin, np.arctan2(jaw[:, 0], jaw[:, 2] - axis_z_mm), jaw[:, 1]),
    }


def contour_table(skin: Skin, rest_azimuth: np.ndarray, rest_level: np.ndarray) -> dict[str, np.ndarray]:
    """The contour landmarks for every degree of yaw from -39 to 39, in HeadModel's order of rows.

    Args:
        skin: of the mean head.
        rest_azimuth, rest_level: [17] where the contour's points lie on a head that looks ahead.

    Returns:
        contour_landmark_faces [79, 17] and contour_landmark_barycentric [79, 17, 3].
    """
    chart = np.column_stack([skin.azimuth * _CHART_MM_PER_RADIAN, skin.level])
    radius = np.linalg.norm(skin.vertices[:, [0, 2]] - [0, skin.axis_z], axis=1)
    most = (N_CONTOUR_ROWS - 1) // 2
    faces, weights = [], []
    for degree in (*range(most + 1), *(-degree for degree in range(1, most + 1))):
        azimuths = _slide(skin, rest_azimuth, rest_level, np.radians(degree))
        targets = np.column_stack([azimuths * _CHART_MM_PER_RADIAN, rest_level])
        row_faces, row_weights = locate(targets, chart, skin.faces, radius)
        faces.append(row_faces)
        weights.append(row_weights)
    return {
        "contour_landmark_faces": np.stack(faces),
        "contour_landmark_barycentric": np.stack(weights).astype(np.float32),
    }
