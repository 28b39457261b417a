"""Joints and skinning weights for ICT-FaceKit's meshes, from its jawOpen shape."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from mfnet.head.importers.rig import Hinge, affine_weights, fit_sphere, jaw_correctives, jaw_share
from mfnet.head.model import N_JOINTS

_ROOT, _NECK, _JAW, _LEFT_EYE, _RIGHT_EYE = range(N_JOINTS)
_MOVED_M = 1e-4
_RING_M = 0.004
_HINGE_VERTICES = 200


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
    moved = np.linalg.norm(teeth[1], axis=1) > _MOVED_M
    hinge = _fit_hinge(teeth[0][moved], teeth[1][moved])
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
        "pose_directions": jaw_correctives(template, jaw_open, weights[:, _JAW], hinge.centre, hinge.angle).astype(
            np.float32
        ),
    }


def _fit_hinge(teeth: np.ndarray, displacement: np.ndarray) -> Hinge:
    """The turn about x that carries the lower teeth [N, 3] by a displacement [N, 3]."""
    moved = teeth + displacement
    turn, _ = Rotation.align_vectors(moved - moved.mean(0), teeth - teeth.mean(0))
    angle = float(turn.as_rotvec()[0])
    matrix = Rotation.from_euler("x", angle).as_matrix()
    shift = moved.mean(0) - matrix @ teeth.mean(0)
    # (I - R) c = t within the plane of the turn; nothing moves along its axis.
    centre = np.linalg.solve((np.eye(3) - matrix)[1:, 1:], shift[1:])
    return Hinge(angle, np.array([0.0, *centre]))


def _skinning_weights(
    template: np.ndarray, jaw_open: np.ndarray, hinge: Hinge, neck: tuple[float, float]
) -> np.ndarray:
    """Root below, neck above, and of that the share to the jaw with which jawOpen follows the hinge."""
    share = jaw_share(template, jaw_open, hinge.centre, hinge.angle)
    height = np.clip((template[:, 1] - neck[0]) / (neck[1] - neck[0]), 0, 1)
    above = height * height * (3 - 2 * height)
    jaw = share * above
    weights = np.zeros((len(template), N_JOINTS))
    weights[:, _ROOT], weights[:, _NECK], weights[:, _JAW] = 1 - above, above - jaw, jaw
    return weights
