"""What MFNet is measured against on this machine: the mean head, placed by a rigid fit to the landmarks."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import least_squares

from mfnet.head import HeadModel, rotation_from_axis_angle
from mfnet.head.flame import contour_row


class MeanHeadFit:
    """The template without any shape: rotation, scale and position from 68 landmarks, by least squares."""

    def __init__(self, head: HeadModel) -> None:
        self.head = head
        points = head.template[head.faces].astype(np.float64)
        static = (points[head.static_landmark_faces] * head.static_landmark_barycentric[..., None]).sum(1)
        contour = (points[head.contour_landmark_faces] * head.contour_landmark_barycentric[..., None]).sum(2)
        self._centre = static.mean(0)
        self._landmarks = np.concatenate([contour, np.repeat(static[None], len(contour), 0)], 1) - self._centre

    def fit(self, landmarks: np.ndarray) -> np.ndarray:
        """The template in front of a scaled orthographic camera.

        Args:
            landmarks: [68, 2] in a crop's [-1, 1], x right, y down.

        Returns:
            [V, 3] x right, y down, z away from the camera, in the crop's unit.
        """
        target = landmarks * [1, -1]
        best = min((self._solve(target, yaw) for yaw in (-0.9, 0.0, 0.9)), key=lambda found: found.cost)
        axis_angle, scale, shift = best.x[:3], np.exp(best.x[3]), best.x[4:]
        turned = (self.head.template - self._centre) @ _rotation(axis_angle).T
        return (turned * scale + [*shift, 0]) * [1, -1, -1]

    def _solve(self, target: np.ndarray, yaw: float):  # type: ignore[no-untyped-def]
        spread = np.log(np.ptp(target, axis=0).mean() / np.ptp(self._landmarks[0], axis=0)[:2].mean())

        def residual(values: np.ndarray, row: int) -> np.ndarray:
            turned = self._landmarks[row] @ _rotation(values[:3]).T
            return (turned[:, :2] * np.exp(values[3]) + values[4:] - target).ravel()

        values = np.array([0.0, yaw, 0.0, spread, *target.mean(0)])
        # The contour's points depend on the yaw and the yaw on the points: a few rounds settle it.
        for _ in range(3):
            found = least_squares(residual, values, args=(self._row(values[:3]),))
            values = found.x
        return found

    @staticmethod
    def _row(axis_angle: np.ndarray) -> int:
        return int(contour_row(torch.tensor(_rotation(axis_angle))[None])[0])


def _rotation(axis_angle: np.ndarray) -> np.ndarray:
    return rotation_from_axis_angle(torch.tensor(axis_angle, dtype=torch.float64)).numpy()
