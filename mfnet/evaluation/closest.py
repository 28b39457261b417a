"""Exact distance from points to a surface that is a height map: a quadtree over the map's cells."""

from __future__ import annotations

import numba
import numpy as np

_LEVELS = 9


def distances_to_grid(points: np.ndarray, queries: np.ndarray, surface: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Distance of some map points to another map's surface.

    Args:
        points: [n * n, 3] the points of the first map.
        queries: [Q] flat indices of those to measure.
        surface: [n * n, 3] the points of the second map, n = 256.
        valid: [n, n] pixels k of the second map that carry the triangles (k, k+1, k+n) and (k+n+1, k+n, k+1).

    Returns:
        [Q] distances.
    """
    low, high, offsets = _boxes(surface, valid)
    return _query(points, queries, surface, low, high, offsets, valid.shape[0])


def _boxes(surface: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounding boxes of the cells and of every 2 x 2 group above them, levels one after another from the cells."""
    n = valid.shape[0]
    low, high = np.full((n, n, 3), np.inf), np.full((n, n, 3), -np.inf)
    k = np.flatnonzero(valid)
    corners = surface[k[:, None] + np.array([0, 1, n, n + 1])]
    low.reshape(-1, 3)[k], high.reshape(-1, 3)[k] = corners.min(1), corners.max(1)
    lows, highs = [low], [high]
    while lows[-1].shape[0] > 1:
        size = lows[-1].shape[0] // 2
        lows.append(lows[-1].reshape(size, 2, size, 2, 3).min((1, 3)))
        highs.append(highs[-1].reshape(size, 2, size, 2, 3).max((1, 3)))
    offsets = np.cumsum([0] + [level.shape[0] ** 2 for level in lows[:-1]])
    flat = [np.concatenate([level.reshape(-1, 3) for level in levels]) for levels in (lows, highs)]
    return flat[0], flat[1], offsets


@numba.njit(cache=True, inline="always")
def _box_distance(p, low, high, index):  # type: ignore[no-untyped-def]
    total = 0.0
    for axis in range(3):
        gap = max(low[index, axis] - p[axis], p[axis] - high[index, axis], 0.0)
        total += gap * gap
    return total


@numba.njit(cache=True, inline="always")
def _share(part, whole):  # type: ignore[no-untyped-def]
    """part / whole, 0 for the collapsed triangles where columns 0 and 255 meet."""
    return part / whole if whole != 0.0 else 0.0


@numba.njit(cache=True, inline="always")
def _dot(ax, ay, az, bx, by, bz):  # type: ignore[no-untyped-def]
    return ax * bx + ay * by + az * bz


@numba.njit(cache=True)
def _triangle_distance(p, a, b, c):  # type: ignore[no-untyped-def]
    """Squared distance of a point to a triangle, by the region its projection falls into (Ericson 2005, 5.1.5).

    Written out in scalars: small arrays would be allocated for every triangle.
    """
    abx, aby, abz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    acx, acy, acz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    apx, apy, apz = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    bpx, bpy, bpz = p[0] - b[0], p[1] - b[1], p[2] - b[2]
    cpx, cpy, cpz = p[0] - c[0], p[1] - c[1], p[2] - c[2]
    d1, d2 = _dot(abx, aby, abz, apx, apy, apz), _dot(acx, acy, acz, apx, apy, apz)
    if d1 <= 0 and d2 <= 0:
        return _dot(apx, apy, apz, apx, apy, apz)
    d3, d4 = _dot(abx, aby, abz, bpx, bpy, bpz), _dot(acx, acy, acz, bpx, bpy, bpz)
    if d3 >= 0 and d4 <= d3:
        return _dot(bpx, bpy, bpz, bpx, bpy, bpz)
    d5, d6 = _dot(abx, aby, abz, cpx, cpy, cpz), _dot(acx, acy, acz, cpx, cpy, cpz)
    if d6 >= 0 and d5 <= d6:
        return _dot(cpx, cpy, cpz, cpx, cpy, cpz)
    vc, vb, va = d1 * d4 - d3 * d2, d5 * d2 - d1 * d6, d3 * d6 - d5 * d4
    if vc <= 0 and d1 >= 0 and d3 <= 0:
        along_b, along_c = _share(d1, d1 - d3), 0.0
    elif vb <= 0 and d2 >= 0 and d6 <= 0:
        along_b, along_c = 0.0, _share(d2, d2 - d6)
    elif va <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0:
        along_c = _share(d4 - d3, (d4 - d3) + (d5 - d6))
        along_b = 1.0 - along_c
    else:
        along_b, along_c = _share(vb, va + vb + vc), _share(vc, va + vb + vc)
    x = apx - along_b * abx - along_c * acx
    y = apy - along_b * aby - along_c * acy
    z = apz - along_b * abz - along_c * acz
    return x * x + y * y + z * z


@numba.njit(parallel=True, cache=True)
def _query(points, queries, surface, low, high, offsets, n):  # type: ignore[no-untyped-def]
    result = np.empty(len(queries))
    for q in numba.prange(len(queries)):
        p = points[queries[q]]
        stack_level, stack_cell = np.empty(4 * _LEVELS, np.int64), np.empty(4 * _LEVELS, np.int64)
        stack_level[0], stack_cell[0], depth = len(offsets) - 1, 0, 1
        best = np.inf
        own_row, own_column = queries[q] // n, queries[q] % n
        while depth > 0:
            depth -= 1
            level, cell = stack_level[depth], stack_cell[depth]
            if _box_distance(p, low, high, offsets[level] + cell) >= best:
                continue
            if level == 0:
                a, b, c, d = surface[cell], surface[cell + 1], surface[cell + n], surface[cell + n + 1]
                best = min(best, _triangle_distance(p, a, b, c), _triangle_distance(p, d, c, b))
                continue
            width = n >> level
            row, column = 2 * (cell // width), 2 * (cell % width)
            # The child that holds the query's own pixel goes last onto the stack and so comes off first.
            near_row = 1 if (own_row >> (level - 1)) > row else 0
            near_column = 1 if (own_column >> (level - 1)) > column else 0
            for other in (3, 2, 1, 0):
                child_row = row + (near_row ^ (other >> 1))
                child_column = column + (near_column ^ (other & 1))
                child = child_row * 2 * width + child_column
                if _box_distance(p, low, high, offsets[level - 1] + child) < best:
                    stack_level[depth], stack_cell[depth] = level - 1, child
                    depth += 1
        result[q] = np.sqrt(best)
    return result
