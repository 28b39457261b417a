"""Joints, skinning weights and jaw correctives for ICT-FaceKit's meshes, from its jawOpen shape."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from mfnet.head.model import N_JOINTS, N_POSE_CORRECTIVES

_ROOT, _NECK, _JAW, _LEFT_EYE, _RIGHT_EYE = range(N_JOINTS)
_MOVED_M = 1e-4
_RING_M = 0.004
_HINGE_VERTICES = 200
# Of R - I, flattened row by row: the sine of a turn about x, and its negative.
_SINE, _MINUS_SINE = 2 * 3 + 1, 1 * 3 + 2


class _Hinge(NamedTuple):
    """The jaw's opening: an angle (radians, about x) about a point of the middle plane [3]."""

    angle: float
    centre: np.ndarray


def rig(
    template: np.ndarray,
    jaw_open: np.ndarray,
    teeth: tuple[np.ndarray, np.ndarray],
    eyes: dict[str, np.ndarray],
    n_white: int,
    chin_height: float,
) -> dict[str, np.ndarray]:
    """The arrays of HeadModel that move it; metres.

    Args:
        template: [V, 3] kept vertices.
        jaw_open: [V, 3] their displacement in jawOpen.
        teeth: all teeth [N, 3] and their displacement [N, 3]; the lower row moves rigidly with the jaw.
        eyes: vertex indices of the "left" and "right" eyeball, the white first.
        n_white: how many of each are the white.
        chin_height: y of landmark 8.

    Returns:
        joint_regressor [5, V], skinning_weights [V, 5] and pose_directions [V, 3, 36], such that turning the jaw by
        the hinge's angle gives jawOpen.
    """
    hinge = _fit_hinge(*teeth)
    skin = np.ones(len(template), bool)
    skin[np.concatenate(list(eyes.values()))] = False
    bottom = template[skin, 1].min()
    weights = _skinning_weights(template, jaw_open, hinge, (bottom, chin_height))
    regressor = np.zeros((N_JOINTS, len(template)))
    height = template[:, 1]
    regressor[_ROOT, skin & (height < bottom + _RING_M)] = 1
    regressor[_NECK, skin & (np.abs(height - (bottom + chin_height) / 2) < _RING_M)] = 1
    regressor[: _NECK + 1] /= regressor[: _NECK + 1].sum(1, keepdims=True)
    from_axis = np.linalg.norm(template[:, 1:] - hinge.centre[1:], axis=1)
    near_hinge = np.argsort(np.where(skin, from_axis, np.inf), kind="stable")[:_HINGE_VERTICES]
    regressor[_JAW, near_hinge] = affine_weights(template[near_hinge], hinge.centre)
    for joint, name in ((_LEFT_EYE, "left"), (_RIGHT_EYE, "right")):
        weights[eyes[name]] = np.eye(N_JOINTS)[joint]
        white = eyes[name][:n_white]
        regressor[joint, white] = affine_weights(template[white], fit_sphere(template[white])[0])
    return {
        "joint_regressor": regressor.astype(np.float32),
        "skinning_weights": weights.astype(np.float32),
        "pose_directions": _correctives(template, jaw_open, hinge, weights[:, _JAW]).astype(np.float32),
    }


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


def _fit_hinge(teeth: np.ndarray, displacement: np.ndarray) -> _Hinge:
    """The turn about x that carries the lower teeth from the neutral to jawOpen."""
    lower = np.linalg.norm(displacement, axis=1) > _MOVED_M
    before, after = teeth[lower], (teeth + displacement)[lower]
    turn, _ = Rotation.align_vectors(after - after.mean(0), before - before.mean(0))
    angle = float(turn.as_rotvec()[0])
    matrix = Rotation.from_euler("x", angle).as_matrix()
    shift = after.mean(0) - matrix @ before.mean(0)
    # (I - R) c = t within the plane of the turn; nothing moves along its axis.
    centre = np.linalg.solve((np.eye(3) - matrix)[1:, 1:], shift[1:])
    return _Hinge(angle, np.array([0.0, *centre]))


def _skinning_weights(
    template: np.ndarray, jaw_open: np.ndarray, hinge: _Hinge, neck: tuple[float, float]
) -> np.ndarray:
    """Root below, neck above, and of that the share to the jaw with which jawOpen follows the hinge."""
    matrix = Rotation.from_euler("x", hinge.angle).as_matrix()
    turned = (template - hinge.centre) @ (matrix - np.eye(3)).T
    share = (jaw_open * turned).sum(1) / np.maximum((turned**2).sum(1), 1e-12)
    height = np.clip((template[:, 1] - neck[0]) / (neck[1] - neck[0]), 0, 1)
    above = height * height * (3 - 2 * height)
    jaw = np.clip(share, 0, 1) * above
    weights = np.zeros((len(template), N_JOINTS))
    weights[:, _ROOT], weights[:, _NECK], weights[:, _JAW] = 1 - above, above - jaw, jaw
    return weights


def _correctives(template: np.ndarray, jaw_open: np.ndarray, hinge: _Hinge, jaw: np.ndarray) -> np.ndarray:
    """What skinning misses of jawOpen, before the turn and in proportion to its sine, [V, 3, 36]."""
    matrix = Rotation.from_euler("x", hinge.angle).as_matrix()
    blended = np.eye(3) + jaw[:, None, None] * (matrix - np.eye(3))
    moved = jaw[:, None] * (hinge.centre - matrix @ hinge.centre)
    before = np.linalg.solve(blended, (template + jaw_open - moved)[..., None])[..., 0]
    correctives = np.zeros((len(template), 3, N_POSE_CORRECTIVES))
    jaw_feature = 9 * (_JAW - 1)
    per_sine = (before - template) / (2 * np.sin(hinge.angle))
    correctives[:, :, jaw_feature + _SINE] = per_sine
    correctives[:, :, jaw_feature + _MINUS_SINE] = -per_sine
    return correctives
