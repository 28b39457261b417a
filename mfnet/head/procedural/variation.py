"""How procedural heads differ: named deformations first, smooth random ones to fill FLAME's 300 and 100.

A named deformation is a row of a table: which part of the head moves, in which direction, by how many millimetres
(one standard deviation over people). The random ones are draws of a smooth field over the head. Both together give
a covariance; its eigenvectors, sorted, are the directions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mfnet.head.model import N_EXPRESSION, N_SHAPE
from mfnet.head.procedural.topology import Slit, Topology

_FLOOR = -120.0
# The table's deviations add up to faces a little more different than people's; this brings them back.
_REALISM = 0.85


class Bump(NamedTuple):
    """Vertices near ``centre`` (mirrored in x) move by ``move``; Gaussian with the widths ``reach``, in mm."""

    name: str
    centre: tuple[float, float, float]
    reach: tuple[float, float, float]
    move: tuple[float, float, float]


SHAPE_BUMPS = (
    Bump("nose length", (0, -18, 60), (13, 15, 20), (0, -2.6, 0.4)),
    Bump("nose projection", (0, -17, 62), (14, 17, 18), (0, 0, 2.6)),
    Bump("nose bridge height", (0, 12, 50), (9, 16, 18), (0, 0, 2.3)),
    Bump("nose width", (12, -22, 53), (8, 11, 15), (1.9, 0, 0)),
    Bump("nose tip turned up", (0, -20, 66), (9, 9, 12), (0, 2.2, 0)),
    Bump("nose bridge width", (6, 8, 48), (7, 18, 14), (1.1, 0, 0)),
    Bump("chin forward", (0, -88, 45), (24, 20, 30), (0, 0, 3.6)),
    Bump("chin down", (0, -92, 40), (32, 26, 40), (0, -3.6, 0)),
    Bump("chin width", (15, -90, 42), (15, 16, 24), (2.3, 0, 0)),
    Bump("jaw width", (55, -55, -15), (24, 30, 40), (4.4, 0, 0)),
    Bump("jaw angle", (54, -58, -28), (24, 26, 30), (0, -4.0, -1.5)),
    Bump("cheekbone width", (58, -4, 12), (24, 20, 28), (2.9, 0, 0.8)),
    Bump("cheekbone forward", (42, -6, 38), (18, 16, 22), (0.4, 0, 2.4)),
    Bump("cheek fullness", (44, -38, 20), (20, 22, 28), (3.2, 0, 2.2)),
    Bump("jowl", (30, -72, 22), (20, 18, 26), (1.6, -1.6, 1.2)),
    Bump("brow ridge", (24, 36, 46), (22, 9, 18), (0, -0.5, 2.0)),
    Bump("brow height", (28, 40, 42), (24, 12, 22), (0, 2.0, 0)),
    Bump("eye spacing", (32, 21, 32), (20, 17, 22), (1.7, 0, 0)),
    Bump("eye height", (32, 21, 32), (24, 17, 24), (0, 1.7, 0)),
    Bump("eye depth", (32, 20, 34), (22, 15, 24), (0, 0, 1.5)),
    Bump("mouth width", (24, -57, 46), (12, 12, 18), (2.4, 0, 0)),
    Bump("mouth height", (0, -58, 54), (34, 17, 26), (0, 2.0, 0)),
    Bump("mouth forward", (0, -58, 56), (26, 17, 24), (0, 0, 2.1)),
    Bump("upper lip length", (0, -48, 57), (18, 7, 16), (0, -1.3, 0)),
    Bump("lower lip fullness", (0, -65, 56), (16, 6, 14), (0, -1.0, 1.3)),
    Bump("upper lip fullness", (0, -52, 57), (16, 5, 14), (0, 0.9, 1.1)),
    Bump("philtrum depth", (0, -42, 58), (9, 9, 14), (0, 0, 1.0)),
    Bump("forehead slope", (0, 86, 22), (60, 38, 50), (0, 0, 4.4)),
    Bump("forehead height", (0, 104, -10), (80, 42, 80), (0, 4.6, 0)),
    Bump("temple width", (66, 48, 0), (24, 34, 40), (2.7, 0, 0)),
    Bump("skull width", (74, 55, -60), (30, 60, 60), (3.8, 0, 0)),
    Bump("skull depth", (0, 40, -150), (90, 80, 60), (0, 0, 5.0)),
    Bump("skull height", (0, 130, -50), (90, 50, 90), (0, 4.6, 0)),
    Bump("ear size", (88, 14, -50), (16, 26, 24), (0.8, 3.0, -2.2)),
    Bump("ears out", (92, 6, -55), (12, 34, 20), (3.4, 0, 0)),
    Bump("ear height", (84, 4, -46), (18, 36, 28), (0, 2.6, 0)),
    Bump("neck width", (52, -145, -60), (34, 48, 60), (4.0, 0, 0)),
    Bump("neck depth", (0, -140, -5), (60, 48, 44), (0, 0, 3.6)),
    Bump("under the chin", (0, -105, 12), (34, 20, 34), (0, -2.6, 0.8)),
)

EXPRESSION_BUMPS = (
    Bump("smile", (26, -57, 44), (13, 13, 20), (3.0, 4.0, -2.0)),
    Bump("cheek raise", (38, -16, 40), (16, 14, 20), (0.6, 2.6, 1.8)),
    Bump("lip corners down", (25, -60, 44), (11, 11, 18), (0.8, -3.4, 0)),
    Bump("pucker", (20, -57, 48), (13, 12, 18), (-3.6, 0, 2.6)),
    Bump("lips forward", (0, -57, 56), (20, 12, 18), (0, 0, 2.6)),
    Bump("brow raise", (27, 42, 42), (22, 13, 24), (0, 3.2, 0.3)),
    Bump("inner brow raise", (12, 41, 46), (11, 11, 20), (0, 2.8, 0)),
    Bump("frown", (13, 37, 47), (10, 9, 18), (-2.0, -2.4, 0.6)),
    Bump("nose wrinkle", (12, -10, 52), (9, 15, 18), (0.4, 2.2, 0.6)),
    Bump("nostrils wide", (13, -24, 53), (7, 7, 14), (1.5, 0, 0)),
    Bump("cheek puff", (38, -46, 30), (17, 17, 26), (3.0, 0, 2.8)),
    Bump("cheeks sucked in", (38, -42, 30), (14, 14, 24), (-2.0, 0, -1.8)),
    Bump("chin raise", (0, -84, 50), (17, 13, 20), (0, 2.8, 1.0)),
    Bump("squint", (32, 8, 38), (18, 7, 18), (0, 2.2, 0.6)),
)


def _mirrored_gaussian(vertices: np.ndarray, centre: tuple, reach: tuple) -> np.ndarray:
    distance = ((np.column_stack([np.abs(vertices[:, 0]), vertices[:, 1:]]) - centre) / reach) ** 2
    return np.exp(-0.5 * distance.sum(1))


def _mirrored_sign(vertices: np.ndarray) -> np.ndarray:
    return np.tanh(vertices[:, 0] / 6.0)


def bump_field(vertices: np.ndarray, bump: Bump) -> np.ndarray:
    """Displacement [V, 3] of a bump and its mirror image."""
    weight = _mirrored_gaussian(vertices, bump.centre, bump.reach)
    move = np.repeat(np.array(bump.move, float)[None], len(vertices), 0)
    move[:, 0] *= _mirrored_sign(vertices)
    return weight[:, None] * move


def _proportions(vertices: np.ndarray) -> list[np.ndarray]:
    """Differences of the whole head: size, width, length, depth, length of the lower and the middle face."""
    x, y, z = vertices.T
    zero = np.zeros_like(x)
    lower = np.clip((20 - y) / 110, 0, 1)
    middle = np.clip((22 - y) / 50, 0, 1)
    narrowing = np.clip((40 - y) / 130, 0, 1) * np.clip((z + 70) / 60, 0, 1)
    return [
        np.column_stack([x, y, z + 45]) * 0.018,
        np.column_stack([x, zero, zero]) * 0.028,
        np.column_stack([zero, y, zero]) * 0.024,
        np.column_stack([zero, zero, z + 45]) * 0.024,
        np.column_stack([zero, -4.8 * lower, zero]),
        np.column_stack([zero, -2.6 * middle, zero]),
        np.column_stack([x * narrowing * 0.07, zero, zero]),
        np.column_stack([zero, zero, 3.2 * lower * np.clip((z + 60) / 80, 0, 1)]),
    ]


def _smooth_fields(vertices: np.ndarray, rng: np.random.Generator, count: int, length: float) -> np.ndarray:
    """Random smooth vector fields of unit variance, [count, V, 3]; mostly mirror-symmetric, as heads are."""
    waves = 40
    mirrored = vertices * np.array([-1, 1, 1])
    fields = np.empty((count, len(vertices), 3))
    for index in range(count):
        frequency = rng.normal(size=(waves, 3)) / length
        phase = rng.uniform(0, 2 * np.pi, waves)
        amplitude = rng.normal(size=(waves, 3)) * np.sqrt(2 / waves)
        here = np.cos(vertices @ frequency.T + phase) @ amplitude
        there = np.cos(mirrored @ frequency.T + phase) @ amplitude * np.array([-1, 1, 1])
        fields[index] = 0.92 * (here + there) / np.sqrt(2) + 0.28 * (here - there) / np.sqrt(2)
    return fields


def _rigid_eyeballs(field: np.ndarray, topology: Topology) -> np.ndarray:
    """Let each eyeball move as a whole, with the mean displacement of the lids' corners and rims."""
    moved = field.copy()
    for name, slit in (("left", topology.left_eye), ("right", topology.right_eye)):
        rim = np.concatenate([slit.upper, slit.lower])
        moved[topology.eyeballs[name]] = field[rim].mean(0)
    return moved


def _principal_directions(fields: np.ndarray, count: int) -> np.ndarray:
    """Eigenvectors of the covariance that the fields [N, V, 3] span, scaled by their deviation, [V, 3, count]."""
    flat = fields.reshape(len(fields), -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    order = np.argsort(values)[::-1][:count]
    directions = (vectors[:, order].T @ flat) / np.sqrt(np.maximum(values[order], 1e-12))[:, None]
    directions *= np.sqrt(np.maximum(values[order], 0))[:, None]
    signs = np.sign(directions[np.arange(count), np.abs(directions).argmax(1)])
    return (directions * signs[:, None]).reshape(count, -1, 3).transpose(1, 2, 0)


def shape_directions(topology: Topology, rng: np.random.Generator) -> np.ndarray:
    """The 300 identity directions, [V, 3, 300] millimetres per standard deviation."""
    vertices = topology.vertices
    fields = [bump_field(vertices, bump) for bump in SHAPE_BUMPS] + _proportions(vertices)
    random = np.concatenate(
        [
            _smooth_fields(vertices, rng, 60, 38.0) * (1.1 / np.sqrt(60)),
            _smooth_fields(vertices, rng, 200, 20.0) * (0.8 / np.sqrt(200)),
        ]
    )
    fade = np.clip((vertices[:, 1] - _FLOOR) / 40 + 1, 0.2, 1)[:, None]
    every = np.concatenate([_REALISM * np.stack(fields), random * fade])
    return _principal_directions(np.stack([_rigid_eyeballs(field, topology) for field in every]), N_SHAPE)


def _one_sided(field: np.ndarray, vertices: np.ndarray, side: int) -> np.ndarray:
    return field * (0.5 + 0.5 * np.tanh(side * vertices[:, 0] / 8))[:, None]


def _lip_parting(topology: Topology) -> tuple[np.ndarray, np.ndarray]:
    """Upper lip up and lower lip down, each fading away from the slit: fields [V, 3]."""
    vertices, slit = topology.vertices, topology.mouth
    near = _mirrored_gaussian(vertices, (0, -57, 52), (17, 9, 18))
    near[topology.pocket] *= 0.8
    below = topology.below_mouth
    corner = np.clip(1 - (np.abs(vertices[:, 0]) / np.abs(vertices[slit.upper[0], 0])) ** 2, 0, 1)
    up = np.where(below, 0, near * corner)[:, None] * np.array([0, 2.6, 0.5])
    down = np.where(below, near * corner, 0)[:, None] * np.array([0, -3.2, 0.4])
    return up, down


def _blink(topology: Topology, slit: Slit) -> np.ndarray:
    """From open to shut for one eye, the field [V, 3]."""
    side = np.sign(topology.vertices[slit.upper, 0].mean())
    return (topology.closed - topology.vertices) * (side * topology.vertices[:, :1] > 0)


def expression_directions(topology: Topology, rng: np.random.Generator) -> np.ndarray:
    """The 100 expression directions, [V, 3, 100] millimetres per standard deviation."""
    vertices = topology.vertices
    fields = []
    for bump in EXPRESSION_BUMPS:
        field = bump_field(vertices, bump)
        fields += [field, *(0.35 * _one_sided(field, vertices, side) for side in (1, -1))]
    fields += list(_lip_parting(topology))
    blinks = [_blink(topology, slit) for slit in (topology.left_eye, topology.right_eye)]
    fields += [0.35 * (blinks[0] + blinks[1]), 0.12 * blinks[0], 0.12 * blinks[1]]
    mouth_aside = _mirrored_gaussian(vertices, (0, -60, 50), (28, 20, 30))[:, None] * np.array([2.0, 0, 0])
    fields.append(mouth_aside)
    mobile = _mirrored_gaussian(vertices, (0, -50, 45), (45, 40, 45)) + _mirrored_gaussian(
        vertices, (28, 35, 40), (24, 18, 30)
    )
    random = _smooth_fields(vertices, rng, 100, 16.0) * (0.5 / np.sqrt(100)) * np.minimum(mobile, 1)[:, None]
    every = np.concatenate([np.stack(fields), random])
    for index in topology.eyeballs.values():
        every[:, index] = 0
    return _principal_directions(every, N_EXPRESSION)
