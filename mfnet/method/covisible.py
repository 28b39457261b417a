"""Equation 5: the covisible mask MC = MB * MF, where two views show the same skin."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

# Azimuth in degrees at which each landmark's skin faces, + towards the person's left (+x); the inner eye corners
# and the nostrils' sides count as further out than their skin, because the nose hides them early.
_HALF_CONTOUR = (80, 77, 74, 70, 62, 50, 36, 16)
LANDMARK_AZIMUTH = np.array(
    [*(-a for a in _HALF_CONTOUR), 0, *_HALF_CONTOUR[::-1],
     -50, -40, -30, -22, -14, 14, 22, 30, 40, 50,
     0, 0, 0, 0, -40, -22, 0, 22, 40,
     -48, -36, -32, -34, -32, -36, 34, 32, 36, 48, 36, 32,
     -42, -26, -12, 0, 12, 26, 42, 28, 14, 0, -14, -28,
     -38, -14, 0, 14, 38, 14, 0, -14], float
)  # fmt: skip
# Skin turned further than this from the camera is too foreshortened to match.
_VISIBLE_UP_TO = 78.0


def visible_landmarks(yaw: float) -> np.ndarray:
    """Which of the 68 landmarks a camera sees, [68] bool, for a yaw in degrees (+ is the nose to image right)."""
    return np.abs(LANDMARK_AZIMUTH + yaw) <= _VISIBLE_UP_TO


def landmark_mask(landmarks: np.ndarray, yaw_a: float, yaw_b: float, size: int) -> np.ndarray:
    """MB of equation 5 in view b: the hull of the landmarks that both views see.

    Args:
        landmarks: [68, 2] of view b in [-1, 1].
        yaw_a, yaw_b: degrees.
        size: pixels a side of the mask.

    Returns:
        [size, size] bool; all False where fewer than three landmarks are shared.
    """
    shared = landmarks[visible_landmarks(yaw_a) & visible_landmarks(yaw_b)]
    mask = np.zeros((size, size), np.uint8)
    if len(shared) >= 3:
        pixels = np.round((shared + 1) * size / 2 - 0.5).astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(pixels), 1)
    return mask.astype(bool)


def pair_landmark_masks(landmarks: Tensor, yaws: Tensor, pairs: Sequence[tuple[int, int]], size: int) -> Tensor:
    """MB of ordered pairs (a, b) of every person's views, over b.

    Args:
        landmarks: [B, N, 68, 2] in [-1, 1].
        yaws: [B, N] degrees.
        pairs: P places (a, b) among the N views.
        size: pixels a side of the masks.

    Returns:
        [B, P, 1, size, size] in {0, 1}, on the landmarks' device.
    """
    masks = [
        [landmark_mask(points[b], float(yaw[a]), float(yaw[b]), size) for a, b in pairs]
        for points, yaw in zip(landmarks.cpu().numpy(), yaws.cpu().numpy(), strict=True)
    ]
    return torch.from_numpy(np.array(masks))[:, :, None].float().to(landmarks.device)


def covisible_mask(landmark_masks: Tensor, face_mask: Tensor, consistency: Tensor | None = None) -> Tensor:
    """MC of equation 5: MB * MF, optionally times the flow's forward-backward consistency.

    Args:
        landmark_masks: MB [B, 1, h, w], at any resolution.
        face_mask: MF [B, 1, H, W], the projected face model without mouth interior and eyes.
        consistency: [B, 1, h, w] in {0, 1}.

    Returns:
        [B, 1, H, W] in {0, 1}.
    """
    size = face_mask.shape[-2:]
    mask = torch.nn.functional.interpolate(landmark_masks, size, mode="nearest") * face_mask
    if consistency is not None:
        mask = mask * torch.nn.functional.interpolate(consistency, size, mode="nearest")
    return mask
