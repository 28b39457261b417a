"""What the rigs of converted heads share: joints from vertices, and correctives for what skinning gets wrong."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from mfnet.head.model import N_POSE_CORRECTIVES, PARENTS

_JAW = 2
# Of R - I, flattened row by row: the sine of a turn about x, and its negative.
_SINE, _MINUS_SINE = 2 * 3 + 1, 1 * 3 + 2
_DIAGONAL = (0, 4, 8)
# A bend's correctives are exact at this turn, and nearly so under twice it.
_BEND = np.radians(30.0)


def fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre [3] and radius of the sphere through points [N, 3], by linear least squares."""
    system = np.column_stack([2 * points, np.ones(len(points))])
    *centre, offset = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    return np.array(centre), float(np.sqrt(offset + np.dot(centre, centre)))


def affine_weights(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The most even weights [N] of points [N, 3] that sum to one and whose mean is the target [3]."""
    constraints = np.vstack([points.T, np.ones(len(points))])
    even = np.full(len(points), 1 / len(points))
    missing = np.append(target, 1.0) - constraints @ even
    return even + np.linalg.lstsq(constraints, missing, rcond=None)[0]


def joint_regressor(template: np.ndarray, joints: np.ndarray, vertices: list[np.ndarray]) -> np.ndarray:
    """[5, V]: each joint [5, 3] as an affine mean of the template's [V, 3] vertices with these indices."""
    regressor = np.zeros((len(PARENTS), len(template)))
    for joint, index in enumerate(vertices):
        regressor[joint, index] = affine_weights(template[index], joints[joint])
    return regressor


class Hinge(NamedTuple):
    """The jaw's opening: an angle (radians, about x) about a point of the middle plane [3]."""

    angle: float
    centre: np.ndarray


def jaw_share(template: np.ndarray, jaw_open: np.ndarray, centre: np.ndarray, angle: float) -> np.ndarray:
    """[V] in [0, 1]: the weight of the jaw's turn by an angle about x with which a vertex follows `jaw_open` [V, 3]."""
    matrix = Rotation.from_euler("x", angle).as_matrix()
    turned = (template - centre) @ (matrix - np.eye(3)).T
    return np.clip((jaw_open * turned).sum(1) / np.maximum((turned**2).sum(1), 1e-12), 0, 1)


def jaw_correctives(
    template: np.ndarray, jaw_open: np.ndarray, weight: np.ndarray, centre: np.ndarray, angle: float
) -> np.ndarray:
    """What skinning misses of an open jaw, before the turn and in proportion to its sine, [V, 3, 36].

    Args:
        template: [V, 3].
        jaw_open: [V, 3] the displacement that the jaw's turn is to give.
        weight: [V] of the jaw.
        centre: [3] the joint.
        angle: radians about x at which the jaw is so open.
    """
    matrix = Rotation.from_euler("x", angle).as_matrix()
    per_sine = _missed(template, template + jaw_open, weight, centre, matrix) / (2 * np.sin(angle))
    correctives = np.zeros((len(template), 3, N_POSE_CORRECTIVES))
    feature = 9 * (_JAW - 1)
    correctives[:, :, feature + _SINE] = per_sine
    correctives[:, :, feature + _MINUS_SINE] = -per_sine
    return correctives


def bend_correctives(template: np.ndarray, weight: np.ndarray, centre: np.ndarray, joint: int) -> np.ndarray:
    """What keeps a bend from collapsing, [V, 3, 36]: each vertex turns by its share of the angle, on its circle.

    Skinning moves a vertex along the chord instead. What that loses is the same for a turn to either side, so it goes
    with the diagonal of ``R - I``, where a turn about x shows at y and z, and so on.

    Args:
        template: [V, 3].
        weight: [V] the vertices' share in the turn.
        centre: [3] the joint.
        joint: its number, 1 to 4.
    """
    lost = []
    for axis in np.eye(3):
        matrix = Rotation.from_rotvec(axis * _BEND).as_matrix()
        both = [
            _missed(template, _on_circle(template, weight, centre, sign * axis * _BEND), weight, centre, turn)
            for sign, turn in ((1, matrix), (-1, matrix.T))
        ]
        lost.append((both[0] + both[1]) / (2 * (np.cos(_BEND) - 1)))
    correctives = np.zeros((len(template), 3, N_POSE_CORRECTIVES))
    total = sum(lost) / 2
    for entry, own in zip(_DIAGONAL, lost, strict=True):
        correctives[:, :, 9 * (joint - 1) + entry] = total - own
    return correctives


def _on_circle(template: np.ndarray, weight: np.ndarray, centre: np.ndarray, turn: np.ndarray) -> np.ndarray:
    return Rotation.from_rotvec(weight[:, None] * turn).apply(template - centre) + centre


def _missed(
    template: np.ndarray, target: np.ndarray, weight: np.ndarray, centre: np.ndarray, matrix: np.ndarray
) -> np.ndarray:
    """How far before its turn by a matrix a vertex has to be moved to come to its target, [V, 3]."""
    blended = np.eye(3) + weight[:, None, None] * (matrix - np.eye(3))
    shift = weight[:, None] * (centre - matrix @ centre)
    return np.linalg.solve(blended, (target - shift)[..., None])[..., 0] - template
