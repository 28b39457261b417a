"""Skin, lips, brows, hair and eyes of the procedural head, painted in texture space."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import gaussian_filter

from mfnet.head.procedural.topology import Topology

RESOLUTION = 192
N_ALBEDO = 40
_SKIN, _LIP, _HAIR = (0.78, 0.58, 0.48), (0.68, 0.36, 0.34), (0.16, 0.11, 0.08)
_SCLERA, _IRIS, _PUPIL, _MOUTH = (0.88, 0.86, 0.84), (0.30, 0.24, 0.16), (0.03, 0.03, 0.03), (0.28, 0.08, 0.08)
_SOCKET = (0.74, 0.50, 0.46)


class Canvas(NamedTuple):
    """What each of R x R texels shows, so that one brush paints any head.

    positions [R, R, 3]: the place on the procedural head, millimetres; eye_angle [R, R]: degrees from the gaze, on
    the eyeballs; eye, mouth, socket [R, R] bool: eyeballs, the mouth's inside, the eyes' sockets.
    """

    positions: np.ndarray
    eye_angle: np.ndarray
    eye: np.ndarray
    mouth: np.ndarray
    socket: np.ndarray


def texel_positions(
    vertices: np.ndarray, faces: np.ndarray, uv_coordinates: np.ndarray, uv_faces: np.ndarray
) -> np.ndarray:
    """The surface point that each texel shows, [R, R, 3]; interpolated between the charts, 0 beyond all of them."""
    corner_uv, corner_vertex = uv_faces.reshape(-1), faces.reshape(-1)
    used, first = np.unique(corner_uv, return_index=True)
    centre = (np.arange(RESOLUTION) + 0.5) / RESOLUTION
    u, v = np.meshgrid(centre, 1 - centre)
    interpolate = LinearNDInterpolator(uv_coordinates[used], vertices[corner_vertex[first]], fill_value=0.0)
    return interpolate(np.stack([u, v], -1))


def procedural_canvas(topology: Topology) -> Canvas:
    """The canvas of the procedural head's own texture layout."""
    positions = texel_positions(topology.vertices, topology.faces, topology.uv_coordinates, topology.uv_faces)
    angle, eye = _eye_polar(RESOLUTION)
    u, v = np.meshgrid(np.arange(RESOLUTION) + 0.5, RESOLUTION - np.arange(RESOLUTION) - 0.5)
    mouth = (v / RESOLUTION < 0.125) & ~eye
    socket = mouth & (np.abs(u / RESOLUTION - 0.5) > 0.215)
    return Canvas(positions, angle, eye, mouth, socket)


def _blob(p: np.ndarray, centre: tuple, reach: tuple) -> np.ndarray:
    mirrored = np.concatenate([np.abs(p[..., :1]), p[..., 1:]], -1)
    return np.exp(-0.5 * (((mirrored - centre) / reach) ** 2).sum(-1))


def _soft(value: np.ndarray, width: float) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(value / width)


def _masks(p: np.ndarray) -> dict[str, np.ndarray]:
    """Where each painted part lies, [R, R] in [0, 1], from the texels' positions [R, R, 3]."""
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    front = _soft(z - 15, 4)
    arch = 1 - (x / 25) ** 2
    bow = 1.3 * np.exp(-((x / 3.2) ** 2))
    above, below = -56.5 + 8.2 * np.maximum(arch, 0) - bow, -58 - 12.3 * np.maximum(arch, 0) ** 0.8
    lips = _soft(above - y, 0.9) * _soft(y - below, 0.9) * _soft(25 - x, 1.0) * front
    brow_line = 41.5 + 4.5 * np.sin(np.clip((x - 12) / 36, 0, 1) * np.pi * 0.85)
    thickness = 2.2 + 1.6 * np.clip((40 - x) / 25, 0, 1)
    brows = np.exp(-(((y - brow_line) / thickness) ** 2)) * _soft(x - 12, 1.5) * _soft(49 - x, 2) * front
    hairline = 82 - 0.006 * x**2
    side_edge = -10 + 0.35 * np.clip(y - 20, 0, 60)
    scalp = np.maximum(_soft(y - hairline, 3), _soft(side_edge - z, 4) * _soft(x - 48, 5) * _soft(y + 12, 4))
    back = _soft(-72 - z, 5) * _soft(y + 75, 7)
    ear = _blob(p, (84, 4, -50), (9, 30, 17))
    hair = np.maximum(scalp, back) * (1 - np.minimum(1, 1.6 * ear))
    beard = (_blob(p, (28, -72, 35), (34, 18, 34)) + _blob(p, (0, -44, 58), (17, 5, 14))) * front
    return {
        "lips": lips, "brows": brows, "hair": hair, "beard": np.minimum(beard, 1) * (1 - lips),
        "cheeks": _blob(p, (40, -14, 36), (15, 13, 20)), "nose": _blob(p, (0, -18, 62), (13, 11, 14)),
        "under_eyes": _blob(p, (31, 9, 38), (13, 5, 14)), "lids": _blob(p, (31, 25, 38), (16, 7, 12)),
        "forehead": _blob(p, (0, 66, 40), (40, 18, 26)), "ears": ear, "neck": _soft(-105 - y, 8),
    }  # fmt: skip


def _eye_polar(resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Angle from the gaze in degrees on each eyeball's island, and where the islands are, both [R, R]."""
    centre = (np.arange(resolution) + 0.5) / resolution
    u, v = np.meshgrid(centre, 1 - centre)
    angle, island = np.full(u.shape, 180.0), np.zeros(u.shape, bool)
    for corner in (0.88, 0.0):
        radius = np.hypot(u - corner - 0.06, v - 0.06) / 0.06
        here = (v < 0.125) & (np.abs(u - corner - 0.06) <= 0.062)
        angle, island = np.where(here, radius * 180, angle), island | here
    return angle, island


def _noise(rng: np.random.Generator, smoothness: float) -> np.ndarray:
    field = gaussian_filter(rng.normal(size=(RESOLUTION, RESOLUTION)), smoothness, mode=("nearest", "wrap"))
    return field / field.std()


def paint_albedo(canvas: Canvas, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mean [R, R, 3] and basis [40, R, R, 3] of the skin's RGB albedo, float32 and float16, row 0 at v = 1."""
    positions, angle, eye, mouth, socket = canvas
    masks = _masks(positions)

    def mix(base: np.ndarray, colour: tuple, weight: np.ndarray) -> np.ndarray:
        return base + weight[..., None] * (np.array(colour) - base)

    mean = np.broadcast_to(np.array(_SKIN), (RESOLUTION, RESOLUTION, 3)).copy()
    mean = mix(mean, (0.80, 0.50, 0.43), 0.45 * masks["cheeks"] + 0.35 * masks["nose"] + 0.35 * masks["ears"])
    mean = mix(mean, (0.62, 0.42, 0.36), 0.35 * masks["under_eyes"] + 0.30 * masks["lids"])
    mean = mix(mean, _LIP, 0.85 * masks["lips"])
    mean = mix(mean, _HAIR, 0.80 * masks["brows"])
    strands = 0.85 + 0.15 * _noise(np.random.default_rng(1), 1.0)
    mean = mix(mean, _HAIR, masks["hair"]) * (1 - masks["hair"] + masks["hair"] * strands)[..., None]
    mean[mouth] = _MOUTH
    mean[socket] = _SOCKET
    iris, pupil = _soft(29 - angle, 1.5), _soft(11 - angle, 1.0)
    eyeball = mix(np.broadcast_to(np.array(_SCLERA), mean.shape), _IRIS, iris * (0.75 + 0.25 * _soft(25 - angle, 2)))
    eyeball = mix(eyeball, _PUPIL, pupil)
    mean = np.where(eye[..., None], eyeball, mean)

    skin = (1 - masks["hair"]) * ~mouth * ~eye
    colours = [
        (skin, (0.115, 0.120, 0.115)), (skin, (0.028, -0.012, -0.022)), (masks["hair"], (0.10, 0.07, 0.045)),
        (masks["hair"], (0.05, 0.0, -0.02)), (masks["brows"] * skin, (-0.07, -0.05, -0.04)),
        (masks["lips"], (0.04, -0.05, -0.03)), (masks["lips"], (-0.06, -0.05, -0.04)),
        (masks["beard"] * skin, (-0.085, -0.065, -0.05)), (masks["cheeks"] * skin, (0.03, -0.03, -0.025)),
        (masks["nose"] * skin, (0.02, -0.03, -0.03)), (masks["under_eyes"] * skin, (-0.05, -0.05, -0.035)),
        (masks["lids"] * skin, (-0.04, -0.04, -0.02)), (masks["forehead"] * skin, (0.03, 0.025, 0.02)),
        (masks["neck"] * skin, (-0.03, -0.03, -0.03)), (eye * iris * (1 - pupil), (0.02, 0.07, 0.11)),
    ]  # fmt: skip
    basis = [weight[..., None] * np.array(colour) for weight, colour in colours]
    for index in range(N_ALBEDO - len(basis)):
        smoothness = (3.0, 6.0, 12.0)[index % 3]
        tint = np.array([1.0, 0.9, 0.85]) + 0.25 * rng.normal(size=3)
        basis.append((skin * (1 - masks["neck"]) * _noise(rng, smoothness))[..., None] * tint * 0.008)
    return np.clip(mean, 0, 1).astype(np.float32), np.stack(basis).astype(np.float16)
