"""Depth images and cylinder maps of meshes, exact in float64: 256 x 256, 0 where nothing is seen."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

N = 256
_NEAR_WILD, _FAR_WILD = 0.05, 10_000.0
_NEAR_LAB, _FAR_LAB = 0.1, 100_000.0
_HALF_HEIGHT_MM = 150.0


class CylinderMap(NamedTuple):
    """Distance from the head's axis to its farthest surface [N, N] (0 = none), and which triangle that is."""

    radius: np.ndarray
    triangle: np.ndarray


def orthographic_depth(vertices: np.ndarray, faces: np.ndarray, half_width: float) -> np.ndarray:
    """Depth -z [N, N] of the triangles that face the camera; x, y in [-half_width, half_width] fill the image."""
    screen = np.empty_like(vertices, dtype=np.float64)
    screen[:, 0] = (vertices[:, 0] / half_width + 1) * (N / 2) - 0.5
    screen[:, 1] = (1 - vertices[:, 1] / half_width) * (N / 2) - 0.5
    screen[:, 2] = -vertices[:, 2]
    return _depth_image(screen, np.asarray(faces, np.int64), False, _NEAR_WILD, _FAR_WILD)


def pinhole_depth(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Depth z [N, N] of the triangles that face an OpenCV camera; pixel centres at + 0.5, skew ignored."""
    depth = np.where(vertices[:, 2] > _NEAR_LAB, vertices[:, 2], np.nan)
    screen = np.empty_like(vertices, dtype=np.float64)
    screen[:, 0] = K[0, 0] * vertices[:, 0] / depth + K[0, 2] - 0.5
    screen[:, 1] = K[1, 1] * vertices[:, 1] / depth + K[1, 2] - 0.5
    screen[:, 2] = depth
    return _depth_image(screen, np.asarray(faces, np.int64), True, _NEAR_LAB, _FAR_LAB)


@numba.njit(cache=True)
def _depth_image(screen, faces, perspective, near, far):  # type: ignore[no-untyped-def]
    """Nearest depth per pixel; screen is (column, row, depth) with row downwards; clockwise triangles are culled."""
    image = np.full((N, N), np.inf)
    for face in range(faces.shape[0]):
        a, b, c = screen[faces[face, 0]], screen[faces[face, 1]], screen[faces[face, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        # Counter-clockwise for the viewer is a negative area where rows grow downwards; NaN fails this test too.
        if not area < 0:
            continue
        first_row = max(0, int(np.ceil(max(min(a[1], b[1], c[1]), -1.0))))
        last_row = min(N - 1, int(np.floor(min(max(a[1], b[1], c[1]), N + 1.0))))
        first_column = max(0, int(np.ceil(max(min(a[0], b[0], c[0]), -1.0))))
        last_column = min(N - 1, int(np.floor(min(max(a[0], b[0], c[0]), N + 1.0))))
        for row in range(first_row, last_row + 1):
            for column in range(first_column, last_column + 1):
                wa = ((b[0] - column) * (c[1] - row) - (b[1] - row) * (c[0] - column)) / area
                wb = ((c[0] - column) * (a[1] - row) - (c[1] - row) * (a[0] - column)) / area
                wc = 1.0 - wa - wb
                if wa >= 0 and wb >= 0 and wc >= 0:
                    if perspective:
                        depth = 1.0 / (wa / a[2] + wb / b[2] + wc / c[2])
                    else:
                        depth = wa * a[2] + wb * b[2] + wc * c[2]
                    if near < depth < far and depth < image[row, column]:
                        image[row, column] = depth
    for row in range(N):
        for column in range(N):
            if image[row, column] == np.inf:
                image[row, column] = 0.0
    return image


def cylinder_map(vertices: np.ndarray, faces: np.ndarray) -> CylinderMap:
    """Map a mesh in the head's coordinates (mm) onto the cylinder around its y axis.

    Row r lies at y = 150 - 300 r / 255; column j looks along (-sin a, 0, -cos a) with a = 2 pi j / 255, so that
    columns 0 and 255 coincide at the back of the head and the face is in the middle.
    """
    return CylinderMap(*_cylinder(np.ascontiguousarray(vertices, np.float64), np.asarray(faces, np.int64)))


@numba.njit(cache=True)
def _cylinder(vertices, faces):  # type: ignore[no-untyped-def]
    radius = np.zeros((N, N))
    triangle = np.full((N, N), -1, np.int64)
    turn = 2.0 * np.pi / (N - 1)
    sine, cosine = np.sin(turn * np.arange(N)), np.cos(turn * np.arange(N))
    rows_per_mm = (N - 1) / (2.0 * _HALF_HEIGHT_MM)
    xs, zs = np.empty(3), np.empty(3)
    for face in range(faces.shape[0]):
        low = min(vertices[faces[face, 0], 1], vertices[faces[face, 1], 1], vertices[faces[face, 2], 1])
        high = max(vertices[faces[face, 0], 1], vertices[faces[face, 1], 1], vertices[faces[face, 2], 1])
        first_row = max(0, int(np.ceil((_HALF_HEIGHT_MM - min(high, 1e6)) * rows_per_mm - 1e-9)))
        last_row = min(N - 1, int(np.floor((_HALF_HEIGHT_MM - max(low, -1e6)) * rows_per_mm + 1e-9)))
        for row in range(first_row, last_row + 1):
            y = _HALF_HEIGHT_MM - 2.0 * _HALF_HEIGHT_MM * row / (N - 1)
            crossings = 0
            for corner in range(3):
                p, q = faces[face, corner], faces[face, (corner + 1) % 3]
                if (vertices[p, 1] <= y) != (vertices[q, 1] <= y):
                    share = (y - vertices[p, 1]) / (vertices[q, 1] - vertices[p, 1])
                    xs[crossings] = vertices[p, 0] + share * (vertices[q, 0] - vertices[p, 0])
                    zs[crossings] = vertices[p, 2] + share * (vertices[q, 2] - vertices[p, 2])
                    crossings += 1
            if crossings != 2:
                continue
            start, sweep = np.arctan2(-xs[0], -zs[0]), np.arctan2(-xs[1], -zs[1])
            sweep -= start
            if sweep > np.pi:
                sweep -= 2.0 * np.pi
            elif sweep < -np.pi:
                sweep += 2.0 * np.pi
            first = int(np.floor(min(start, start + sweep) / turn - 1e-9))
            last = int(np.ceil(max(start, start + sweep) / turn + 1e-9))
            dx, dz = xs[1] - xs[0], zs[1] - zs[0]
            for step in range(first, last + 1):
                column = step % (N - 1)
                ux, uz = -sine[column], -cosine[column]
                across = ux * dz - uz * dx
                if across == 0.0:
                    continue
                distance = (xs[0] * dz - zs[0] * dx) / across
                along = (xs[0] * uz - zs[0] * ux) / across
                if distance > 0.0 and -1e-12 <= along <= 1.0 + 1e-12 and distance > radius[row, column]:
                    radius[row, column] = distance
                    triangle[row, column] = face
    radius[:, N - 1] = radius[:, 0]
    triangle[:, N - 1] = triangle[:, 0]
    return radius, triangle
