"""Exact distance from points to a surface that is a height map: a quadtree over the map's cells."""

from __future__ import annotations

import numba
import numpy as np

_LEVELS = 9
_TOGETHER = 256


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


@numba.njit(cache=True)
def _boxes(surface, valid):  # type: ignore[no-untyped-def]
    """Bounding boxes of the cells and of every 2 x 2 group above them, levels one after another from the cells."""
    n = valid.shape[0]
    offsets = np.zeros(_LEVELS, np.int64)
    for level in range(1, _LEVELS):
        offsets[level] = offsets[level - 1] + (n >> (level - 1)) ** 2
    low, high = np.full((offsets[-1] + 1, 3), np.inf), np.full((offsets[-1] + 1, 3), -np.inf)
    for cell in range(n * n):
        if valid[cell // n, cell % n]:
            for axis in range(3):
                a, b = surface[cell, axis], surface[cell + 1, axis]
                c, d = surface[cell + n, axis], surface[cell + n + 1, axis]
                low[cell, axis], high[cell, axis] = min(a, b, c, d), max(a, b, c, d)
    for level in range(1, _LEVELS):
        width = n >> level
        for cell in range(width * width):
            first = offsets[level - 1] + 2 * (cell // width) * 2 * width + 2 * (cell % width)
            for child in (first, first + 1, first + 2 * width, first + 2 * width + 1):
                for axis in range(3):
                    low[offsets[level] + cell, axis] = min(low[offsets[level] + cell, axis], low[child, axis])
                    high[offsets[level] + cell, axis] = max(high[offsets[level] + cell, axis], high[child, axis])
    return low, high, offsets


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


@numba.njit(cache=True, inline="always")
def _cell_distance(p, surface, cell, n):  # type: ignore[no-untyped-def]
    a, b, c, d = surface[cell], surface[cell + 1], surface[cell + n], surface[cell + n + 1]
    return min(_triangle_distance(p, a, b, c), _triangle_distance(p, d, c, b))


@numba.njit(cache=True)
def _nearest(p, own, guess, stack, surface, low, high, offsets, n):  # type: ignore[no-untyped-def]
    """Squared distance to the surface and the cell that is nearest; `guess` is a cell to begin with, or -1."""
    best, nearest_cell = np.inf, guess
    if guess >= 0:
        best = _cell_distance(p, surface, guess, n)
    own_row, own_column = own // n, own % n
    stack[0, 0], stack[0, 1], depth = len(offsets) - 1, 0, 1
    while depth > 0:
        depth -= 1
        level, cell = stack[depth, 0], stack[depth, 1]
        if _box_distance(p, low, high, offsets[level] + cell) >= best:
            continue
        if level == 0:
            distance = _cell_distance(p, surface, cell, n)
            if distance < best:
                best, nearest_cell = distance, cell
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
                stack[depth, 0], stack[depth, 1] = level - 1, child
                depth += 1
    return best, nearest_cell


@numba.njit(parallel=True, cache=True)
def _query(points, queries, surface, low, high, offsets, n):  # type: ignore[no-untyped-def]
    result = np.empty(len(queries))
    for part in numba.prange((len(queries) + _TOGETHER - 1) // _TOGETHER):
        stack = np.empty((4 * _LEVELS, 2), np.int64)
        # Neighbours lie near neighbouring cells, so that the last answer already bounds the next.
        guess = -1
        for q in range(part * _TOGETHER, min((part + 1) * _TOGETHER, len(queries))):
            own = queries[q]
            squared, guess = _nearest(points[own], own, guess, stack, surface, low, high, offsets, n)
            result[q] = np.sqrt(squared)
    return result
