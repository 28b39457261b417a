"""Joints, skinning weights and pose correctives of the procedural head."""

from __future__ import annotations

import numpy as np

from mfnet.head.model import N_JOINTS, N_POSE_CORRECTIVES
from mfnet.head.procedural.surface import EYE_CENTRE
from mfnet.head.procedural.topology import Topology

_NECK_HEIGHT = -112.0
_JAW_HINGE = np.array([62.0, -8.0, -28.0])
_ROOT, _NECK, _JAW, _LEFT_EYE, _RIGHT_EYE = range(N_JOINTS)


def _smoothstep(value: np.ndarray) -> np.ndarray:
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)


def skinning_weights(topology: Topology) -> np.ndarray:
    """[V, 5] weights of root, neck, jaw and the eyes; rows sum to one.

    The jaw's weight jumps at the mouth's slit, so that the lips part, and fades towards the ears and the neck.
    """
    vertices = topology.vertices
    x, y, z = np.abs(vertices[:, 0]), vertices[:, 1], vertices[:, 2]
    neck = _smoothstep((y + 165) / 80)

    mouth_y = vertices[topology.mouth.upper, 1].mean()
    hinge_line = _JAW_HINGE[1] + (mouth_y - _JAW_HINGE[1]) * np.clip((z - _JAW_HINGE[2]) / 75, 0, 1)
    softness = 8 + 16 * np.clip((x - 22) / 25, 0, 1)
    jaw = _smoothstep(0.5 + (hinge_line - y) / (2 * softness))
    half_width = np.abs(vertices[topology.mouth.upper[[0, -1]], 0]).mean()
    between_lips = _smoothstep((half_width + 3 - x) / 10) * _smoothstep((z - 5) / 15)
    near_slit = between_lips * np.exp(-(((y - mouth_y) / 14) ** 2))
    jaw = jaw * (1 - near_slit) + topology.below_mouth * near_slit
    under_chin = _smoothstep((z + 35) / 30) * _smoothstep((y + 118) / 22)
    jaw = jaw * under_chin

    weights = np.zeros((len(vertices), N_JOINTS))
    weights[:, _JAW] = jaw * neck
    weights[:, _NECK] = neck * (1 - jaw)
    weights[:, _ROOT] = 1 - neck
    for name, joint in (("left", _LEFT_EYE), ("right", _RIGHT_EYE)):
        weights[topology.eyeballs[name]] = np.eye(N_JOINTS)[joint]
    return weights


def joint_regressor(topology: Topology) -> np.ndarray:
    """[5, V] each joint as the mean of a few vertices: rings of the neck, both hinges, both eyeballs."""
    vertices = topology.vertices
    regressor = np.zeros((N_JOINTS, len(vertices)))
    rows = np.array([vertices[row, 1].mean() for row in topology.grid])
    regressor[_ROOT, topology.grid[0]] = 1
    regressor[_NECK, topology.grid[np.argmin(np.abs(rows[:12] - _NECK_HEIGHT))]] = 1
    for side in (1, -1):
        distance = np.linalg.norm(vertices - _JAW_HINGE * [side, 1, 1], axis=1)
        regressor[_JAW, np.argsort(distance, kind="stable")[:6]] = 1
    regressor[_LEFT_EYE, topology.eyeballs["left"]] = 1
    regressor[_RIGHT_EYE, topology.eyeballs["right"]] = 1
    return regressor / regressor.sum(1, keepdims=True)


def pose_correctives(topology: Topology) -> np.ndarray:
    """[V, 3, 36] millimetres per entry of R - I of neck, jaw and eyes, row by row of each matrix.

    Opening the jaw draws the cheeks in and stretches the lip corners; bending the neck fills its inner side;
    turning an eye moves the lids a little with it.
    """
    vertices = topology.vertices
    x, _, z = vertices.T
    correctives = np.zeros((len(vertices), 3, N_POSE_CORRECTIVES))

    def gaussian(centre: tuple, reach: tuple) -> np.ndarray:
        mirrored = np.column_stack([np.abs(x), vertices[:, 1:]])
        return np.exp(-0.5 * (((mirrored - centre) / reach) ** 2).sum(1))

    sine_x, minus_sine_x = 2 * 3 + 1, 1 * 3 + 2
    side = np.tanh(x / 6)
    neck = gaussian((0, -125, -50), (60, 22, 45))
    bend = neck * np.tanh((z + 60) / 20)
    jaw_cheek, jaw_corner = gaussian((42, -40, 25), (16, 20, 24)), gaussian((24, -58, 44), (9, 11, 16))
    for entry, sign in ((sine_x, 0.5), (minus_sine_x, -0.5)):
        correctives[:, 2, entry] += sign * 8 * bend
        correctives[:, 0, 9 + entry] += sign * side * (-9 * jaw_cheek - 6 * jaw_corner)
        correctives[:, 2, 9 + entry] += sign * -5 * jaw_cheek
    for joint, name in ((_LEFT_EYE, 1), (_RIGHT_EYE, -1)):
        lid = np.exp(-0.5 * (((vertices - EYE_CENTRE * [name, 1, 1] - [0, 0, 10]) / (12, 8, 12)) ** 2).sum(1))
        lid *= name * x > 0
        for entry, sign in ((sine_x, -0.5), (minus_sine_x, 0.5)):
            correctives[:, 1, 9 * (joint - 1) + entry] += sign * 5 * lid
    for index in topology.eyeballs.values():
        correctives[index] = 0
    return correctives
