"""The skin of the mean head as a signed distance, built by smoothly joining ellipsoids and capsules.

Millimetres in FLAME's axes with FLAME's placement: the eyeballs' centres lie at (+-31.6, 21.4, 25.5). Everything
is mirrored in x, so each primitive is written once, for the person's left side.
"""

from __future__ import annotations

import numpy as np

EYE_CENTRE = np.array([31.6, 21.4, 25.5])
EYE_RADIUS = 12.2
LID_THICKNESS = 1.1
AXIS_Z = -45.0
CROWN_Y = 52.0

Points = np.ndarray


def _ellipsoid(points: Points, centre: tuple, radii: tuple) -> np.ndarray:
    scaled = (points - np.array(centre)) / np.array(radii)
    length = np.linalg.norm(scaled, axis=1)
    return length * (length - 1) / np.maximum(np.linalg.norm(scaled / np.array(radii), axis=1), 1e-9)


def _capsule(points: Points, start: tuple, end: tuple, radius_start: float, radius_end: float) -> np.ndarray:
    axis = np.array(end, float) - np.array(start, float)
    along = np.clip((points - np.array(start)) @ axis / (axis @ axis), 0, 1)
    nearest = np.array(start) + along[:, None] * axis
    return np.linalg.norm(points - nearest, axis=1) - (radius_start + (radius_end - radius_start) * along)


def _join(first: np.ndarray, second: np.ndarray, blend: float) -> np.ndarray:
    share = np.clip(0.5 + 0.5 * (second - first) / blend, 0, 1)
    return second + (first - second) * share - blend * share * (1 - share)


def _carve(body: np.ndarray, hollow: np.ndarray, blend: float) -> np.ndarray:
    return -_join(-body, hollow, blend)


def skin_distance(points: Points) -> np.ndarray:
    """Approximate signed distance to the skin, [N, 3] millimetres to [N]; negative inside."""
    p = np.column_stack([np.abs(points[:, 0]), points[:, 1:]])
    head = _ellipsoid(p, (0, 46, -50), (75, 86, 101))
    head = _join(head, _ellipsoid(p, (0, -18, -14), (61, 84, 65)), 22)
    head = _join(head, _capsule(p, (50, -46, -30), (13, -88, 32), 17, 14), 22)
    head = _join(head, _ellipsoid(p, (0, -90, 37), (20, 15, 17)), 14)
    head = _join(head, _capsule(p, (0, -60, -58), (0, -230, -66), 55, 57), 22)
    head = _join(head, _ellipsoid(p, (46, -9, 20), (19, 17, 20)), 22)
    head = _join(head, _capsule(p, (40, 38, 28), (12, 36, 43), 9, 9), 12)
    head = _join(head, _ellipsoid(p, (0, -56, 44), (27, 19, 15)), 14)
    head = _carve(head, _ellipsoid(p, (31, 20, 49), (17, 12, 12)), 10)
    head = _carve(head, _ellipsoid(p, (11, 15, 60), (6, 14, 9)), 9)
    head = _join(head, _capsule(p, (0, 27, 41), (0, -13, 60), 8.5, 8.5), 9)
    head = _join(head, _ellipsoid(p, (0, -18, 63), (10.5, 9, 11.5)), 6)
    head = _join(head, _ellipsoid(p, (12.5, -23, 53), (6.5, 6.5, 9)), 5)
    head = _carve(head, _ellipsoid(p, (5.5, -32, 60), (3.4, 3, 5)), 3)
    head = _carve(head, _ellipsoid(p, (0, -42, 64), (3.2, 7, 3.5)), 4)
    head = _join(head, _capsule(p, (21, -58, 44), (4, -51.5, 57), 3.4, 5), 3.5)
    head = _join(head, _capsule(p, (19, -60, 44), (0, -64.5, 55), 3.4, 6), 3.5)
    head = _carve(head, _ellipsoid(p, (0, -75, 62), (17, 4, 6)), 6)
    lid = np.linalg.norm(p - EYE_CENTRE, axis=1) - (EYE_RADIUS + LID_THICKNESS)
    head = _join(head, lid, 5)
    return _join(head, _ear(p), 4)


def _ear(p: Points) -> np.ndarray:
    """The left ear: a shell turned a little outwards, hollow in front, with a lobe."""
    turn = np.radians(28)
    centred = p - np.array([78, 4, -44])
    across = centred[:, 0] * np.cos(turn) + centred[:, 2] * np.sin(turn)
    along = -centred[:, 0] * np.sin(turn) + centred[:, 2] * np.cos(turn)
    local = np.column_stack([across, centred[:, 1], along])
    shell = _ellipsoid(local, (4, 3, -3), (8, 31, 17))
    shell = _carve(shell, _ellipsoid(local, (11, 4, 0), (7, 20, 9)), 4)
    return _join(shell, _ellipsoid(local, (3, -26, 3), (5, 8, 7)), 5)


def cast_to_skin(origins: Points, directions: Points, far: float = 170.0, step: float = 3.0) -> Points:
    """Outermost point of the skin along rays, [N, 3] and [N, 3] unit vectors to [N, 3] (millimetres)."""
    outside = np.full(len(origins), far)
    inside = np.zeros(len(origins))
    searching = np.ones(len(origins), bool)
    for radius in np.arange(far - step, 0, -step):
        index = np.flatnonzero(searching)
        hit = skin_distance(origins[index] + radius * directions[index]) < 0
        inside[index[hit]] = radius
        outside[index[~hit]] = radius
        searching[index[hit]] = False
        if not searching.any():
            break
    for _ in range(24):
        middle = 0.5 * (inside + outside)
        hit = skin_distance(origins + middle[:, None] * directions) < 0
        inside, outside = np.where(hit, middle, inside), np.where(hit, outside, middle)
    return origins + inside[:, None] * directions
