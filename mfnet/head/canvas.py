"""Where a head's texels lie on the face that the brush knows, and a head painted with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import distance_transform_edt

from mfnet.head.model import HeadModel
from mfnet.head.paint import RESOLUTION, Canvas, albedo_model, lashes_at, lips_at

_LEFT_EYE, _RIGHT_EYE = 3, 4
_EAR_BAND_M = 0.03
# Millimetres squared, nearly none: landmarks are met to a hundredth of a millimetre.
_SMOOTHING = 1e-6


def canvas_of(head: HeadModel, resolution: int, brush_head: HeadModel | None) -> Canvas:
    """What each of R x R texels of a head shows.

    Args:
        head: the head to be painted.
        resolution: R.
        brush_head: the head whose places the brush knows; None where it is this one.
    """
    triangle, weights = texel_surface(head.uv_coordinates, head.uv_faces, resolution)
    corners = head.faces[triangle]
    positions = (head.template.astype(np.float64)[corners] * weights[..., None]).sum(2)
    eyeballs = head.skinning_weights[:, [_LEFT_EYE, _RIGHT_EYE]] > 0.5
    gaze = np.full(triangle.shape, 180.0)
    for side in range(2):
        here = eyeballs[corners, side].all(2)
        outward = positions[here] - head.template[eyeballs[:, side]].mean(0)
        gaze[here] = np.degrees(np.arccos(np.clip(outward[:, 2] / np.linalg.norm(outward, axis=1), -1, 1)))

    def texels_of(vertices: Any) -> np.ndarray:
        return vertices[corners].all(2)

    eyeball = texels_of(eyeballs.any(1))
    landmarks = frontal_landmarks(head)
    if brush_head is not None:
        known = _known_points(head)
        carry = RBFInterpolator(known, _known_points(brush_head), kernel="thin_plate_spline", smoothing=_SMOOTHING)
        positions = carry(positions.reshape(-1, 3)).reshape(positions.shape)
        landmarks = frontal_landmarks(brush_head)
    ears = head.regions.get("ears", np.zeros(len(head.template), bool))
    socket = texels_of(head.regions["eyes"]) & ~eyeball
    return Canvas(
        positions=positions.astype(np.float32),
        landmarks=landmarks,
        gaze=gaze.astype(np.float32),
        eyeball=eyeball,
        mouth=texels_of(head.regions["mouth"]),
        socket=socket,
        ear=texels_of(ears),
        lips=lips_at(positions, landmarks).astype(np.float32),
        lashes=lashes_at(positions, landmarks).astype(np.float32),
    )


def painted(head: HeadModel, brush_head: HeadModel | None = None) -> HeadModel:
    """The head with the brush's albedo model in place of its own; see `canvas_of` for `brush_head`."""
    mean, basis = albedo_model(canvas_of(head, RESOLUTION, brush_head))
    return replace(head, albedo_mean=mean, albedo_basis=basis)


def texel_surface(uv_coordinates: np.ndarray, uv_faces: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """The triangle [R, R] that each texel shows and barycentrics [R, R, 3]; off the charts those of the nearest texel.

    Args:
        uv_coordinates: [T, 2] in [0, 1], v upwards.
        uv_faces: [F, 3].
        resolution: R; row 0 is v = 1.
    """
    triangle = np.full((resolution, resolution), -1)
    weights = np.zeros((resolution, resolution, 3))
    pixels = (uv_coordinates * [1, -1] + [0, 1]) * resolution - 0.5
    for index, (a, b, c) in enumerate(pixels[uv_faces]):
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        low = np.maximum(np.ceil(np.minimum(np.minimum(a, b), c) - 1e-9), 0).astype(int)
        high = np.minimum(np.floor(np.maximum(np.maximum(a, b), c) + 1e-9), resolution - 1).astype(int)
        if abs(area) < 1e-12 or (low > high).any():
            continue
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        of_b = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) / area
        of_c = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area
        inside = (of_b >= -1e-9) & (of_c >= -1e-9) & (of_b + of_c <= 1 + 1e-9)
        rows, columns = y[inside], x[inside]
        triangle[rows, columns] = index
        weights[rows, columns] = np.stack([1 - of_b - of_c, of_b, of_c], -1)[inside]
    nearest = distance_transform_edt(triangle < 0, return_distances=False, return_indices=True)
    return triangle[tuple(nearest)], weights[tuple(nearest)]


def frontal_landmarks(head: HeadModel) -> np.ndarray:
    """The 68 landmarks [68, 3] of the mean head looking ahead, metres."""
    faces = np.concatenate([head.contour_landmark_faces[0], head.static_landmark_faces])
    weights = np.concatenate([head.contour_landmark_barycentric[0], head.static_landmark_barycentric])
    return (head.template.astype(np.float64)[head.faces[faces]] * weights[..., None]).sum(1)


def _known_points(head: HeadModel) -> np.ndarray:
    """What any two heads have in common: landmarks, ears, crown and the back of the head, [72, 3]."""
    template = head.template.astype(np.float64)
    level = template[(head.skinning_weights[:, [_LEFT_EYE, _RIGHT_EYE]] > 0.5).any(1), 1].mean()
    beside = np.flatnonzero(np.abs(template[:, 1] - level) < _EAR_BAND_M)
    ears = beside[[template[beside, 0].argmax(), template[beside, 0].argmin()]]
    above = np.flatnonzero(template[:, 1] > level)
    skull = template[[*ears, template[:, 1].argmax(), above[template[above, 2].argmin()]]]
    return np.concatenate([frontal_landmarks(head), skull])
