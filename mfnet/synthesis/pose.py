"""How a head is turned, in degrees."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from mfnet.head import yaw_degrees

# FLAME's axes to OpenCV's: y and z change sign.
TO_OPENCV = np.diag([1.0, -1.0, -1.0])


def head_rotation(yaw: float, pitch: float, roll: float = 0.0) -> np.ndarray:
    """R_x(pitch) R_y(yaw) R_z(roll) [3, 3] in FLAME's axes, from degrees."""
    axes = ((pitch, 0, 0), (0, yaw, 0), (0, 0, roll))
    about_x, about_y, about_z = (cv2.Rodrigues(np.radians(np.array(axis, float)))[0] for axis in axes)
    return about_x @ about_y @ about_z


def seen_yaw(rotation: np.ndarray) -> float:
    """Yaw in degrees of a head with this rotation [3, 3] in FLAME's axes; + is the nose to image right."""
    return float(yaw_degrees(torch.from_numpy(rotation)))
