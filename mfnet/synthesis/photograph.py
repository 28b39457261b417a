"""Photographs of sculpted heads: skin, light, background."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from mfnet.render.rasterize import Fragments, interpolate, rasterize
from mfnet.render.shading import shade, vertex_normals
from mfnet.synthesis.person import Person, Sculptor

_FLASHES = 18
_AMBIENT = 3.5449


def draw_light(rng: np.random.Generator, azimuth: float, height: float, strength: float) -> np.ndarray:
    """Nine spherical-harmonic coefficients per channel [9, 3]: ambient, and a lamp from a direction (radians)."""
    toward = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    x, y, z = toward
    lamp = np.array(
        [0.5, 0.55 * x, 0.55 * y, 0.55 * z, 0.4 * x * y, 0.4 * x * z, 0.4 * y * z, 0.2 * (x * x - y * y),
         0.12 * (3 * z * z - 1)]
    )  # fmt: skip
    tint = 1 + 0.05 * rng.normal(size=3)
    light = strength * lamp[:, None] * tint * 1.2
    light[0] += _AMBIENT * rng.uniform(0.42, 0.6) * (1 + 0.03 * rng.normal(size=3))
    return light


def flash_light(rng: np.random.Generator, illumination: int) -> np.ndarray:
    """Light of one of Multi-PIE's illuminations 00..19: none for 00 and 19, else a flash along the arc."""
    if illumination in (0, _FLASHES + 1):
        return draw_light(rng, 0.0, 1.2, 0.45)
    azimuth = np.radians((illumination - 7) * 13.0)
    return draw_light(rng, azimuth, 0.25, 1.0)


def draw_background(rng: np.random.Generator, image_size: tuple[int, int]) -> np.ndarray:
    """A soft, coloured background [H, W, 3] in [0, 1]."""
    height, width = image_size
    grey, tint = rng.uniform(0.15, 0.8), 0.06 * rng.normal(size=3)
    cells = (rng.integers(2, 7), rng.integers(2, 8))
    coarse = grey + tint + 0.12 * rng.normal(size=(*cells, 1)) + 0.05 * rng.normal(size=(*cells, 3))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth, 0, 1)


class Photographer:
    """Photographs of one person's sculpted heads: the skin is painted once, each view rasterized once."""

    def __init__(self, sculptor: Sculptor, person: Person, rng: np.random.Generator) -> None:
        head = sculptor.head
        self._faces = torch.tensor(sculptor.faces)
        uv = torch.tensor(sculptor.uv_coordinates, dtype=torch.float32)
        self._corner_uv = torch.stack([uv[:, 0] * 2 - 1, 1 - uv[:, 1] * 2], -1)[torch.tensor(sculptor.uv_faces)]
        basis = head.albedo_basis.astype(np.float32)
        skin = head.albedo_mean + np.einsum("k,khwc->hwc", person.albedo.astype(np.float32), basis)
        self._skin = torch.tensor(_weathered(np.clip(skin, 0.02, 1), rng)).permute(2, 0, 1)[None]

    def see(self, vertices: np.ndarray, projected: np.ndarray, image_size: tuple[int, int]) -> Sight:
        """Rasterize a head: vertices [V, 3] in the frame of the light, projected [V, 3] in [-1, 1] and depth."""
        fragments = rasterize(torch.tensor(projected, dtype=torch.float32)[None], self._faces, image_size)
        grid = interpolate(fragments, self._corner_uv)
        albedo = torch.nn.functional.grid_sample(self._skin, grid, align_corners=False, padding_mode="border")
        normals = vertex_normals(torch.tensor(vertices, dtype=torch.float32)[None], self._faces)
        per_pixel = interpolate(fragments, normals[:, self._faces.flatten()].unflatten(1, (-1, 3)))
        return Sight(fragments, albedo.permute(0, 2, 3, 1), torch.nn.functional.normalize(per_pixel, dim=-1))


class Sight:
    """A head as one camera sees it, to be lit any number of times."""

    def __init__(self, fragments: Fragments, albedo: torch.Tensor, normals: torch.Tensor) -> None:
        self._seen = (fragments.pix_to_face >= 0)[0].numpy()
        self._albedo, self._normals = albedo, normals

    def photograph(self, light: np.ndarray, background: np.ndarray) -> np.ndarray:
        """RGB uint8 [H, W, 3] under spherical-harmonic light [9, 3] before a background [H, W, 3]."""
        lit = shade(self._albedo, self._normals, torch.tensor(light, dtype=torch.float32)[None])[0].numpy()
        soft = cv2.GaussianBlur(self._seen.astype(np.float32), (3, 3), 0.6)[..., None]
        filled = np.where(self._seen[..., None], np.clip(lit, 0, 1), background)
        image = np.where(soft < 0.999, cv2.GaussianBlur(filled.astype(np.float32), (3, 3), 0.6), filled)
        return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _weathered(skin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The skin with moles, freckles and fine grain, which no albedo parameter explains; [R, R, 3] to [2R, 2R, 3]."""
    size = 2 * len(skin)
    large = cv2.resize(skin, (size, size), interpolation=cv2.INTER_LINEAR)
    grain = cv2.GaussianBlur(rng.normal(size=(size, size)).astype(np.float32), (0, 0), 1.1)
    marks = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(20, 70))):
        x, y = rng.integers(0, size, 2)
        cv2.circle(marks, (int(x), int(y)), int(rng.integers(1, 4)), float(rng.uniform(0.1, 0.45)), -1)
    blurred = cv2.GaussianBlur(marks, (0, 0), 0.8)
    toned = large * (1 + 0.03 * grain / grain.std() - blurred)[..., None]
    return np.clip(toned, 0.01, 1).astype(np.float32)
