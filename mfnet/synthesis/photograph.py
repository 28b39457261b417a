"""Photographs of sculpted heads: skin, light, background, and what a camera makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from mfnet.head.paint import paint
from mfnet.render.rasterize import Fragments, interpolate, rasterize
from mfnet.render.shading import shade
from mfnet.synthesis.person import Person, Sculptor

_FLASHES = 18
_AMBIENT = 3.5449
# Grain of one photograph is another's, shifted: to draw it anew would take longer than the rest.
_GRAIN_SIZE = (560, 720, 3)
# Pixels round the head that its soft edge reaches.
_MARGIN = 3
# Lossless, in half the time of OpenCV's own choice; grain leaves nothing for a longer search.
_FAST_PNG = [
    cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP,
]  # fmt: skip


def draw_light(rng: np.random.Generator) -> np.ndarray:
    """Some light or other: overcast, a lamp, a window, a lamp and another's fill, or the sun; [9, 3] as `lamp`."""
    kind = rng.choice(("overcast", "lamp", "window", "two lamps", "sun"), p=(0.2, 0.25, 0.2, 0.2, 0.15))
    warmth = rng.normal() * 0.06
    if kind == "overcast":
        return ambient(rng, rng.uniform(0.75, 1.0), warmth) + lamp(0.0, 1.3, rng.uniform(0.1, 0.3), warmth)
    azimuth, height = rng.uniform(-1.3, 1.3), rng.uniform(-0.1, 0.9)
    if kind == "lamp":
        return ambient(rng, rng.uniform(0.40, 0.6), warmth) + lamp(azimuth, height, rng.uniform(0.5, 1.1), warmth)
    if kind == "window":
        side = rng.choice((-1, 1)) * rng.uniform(0.8, 1.5)
        return ambient(rng, rng.uniform(0.35, 0.5), warmth) + lamp(side, 0.2, rng.uniform(0.7, 1.2), warmth - 0.05)
    if kind == "two lamps":
        key = lamp(azimuth, height, rng.uniform(0.5, 0.9), warmth)
        return ambient(rng, 0.35, warmth) + key + lamp(-azimuth, 0.1, rng.uniform(0.2, 0.6), rng.normal() * 0.1)
    return ambient(rng, rng.uniform(0.40, 0.55), -0.06) + lamp(azimuth, rng.uniform(0.6, 1.2), 1.2, 0.08)


def ambient(rng: np.random.Generator, strength: float, warmth: float) -> np.ndarray:
    """Light from everywhere, [9, 3]; a strength of one shows the albedo itself."""
    light = np.zeros((9, 3))
    light[0] = _AMBIENT * strength * _tint(warmth) * (1 + 0.02 * rng.normal(size=3))
    return light


def lamp(azimuth: float, height: float, strength: float, warmth: float) -> np.ndarray:
    """A soft lamp's nine spherical-harmonic coefficients per channel [9, 3], from a direction in radians."""
    x, y, z = np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)
    shape = np.array(
        [0.5, 0.55 * x, 0.55 * y, 0.55 * z, 0.4 * x * y, 0.4 * x * z, 0.4 * y * z, 0.2 * (x * x - y * y),
         0.12 * (3 * z * z - 1)]
    )  # fmt: skip
    return 1.2 * strength * shape[:, None] * _tint(warmth)


def _tint(warmth: float) -> np.ndarray:
    return np.array([1 + warmth, 1.0, 1 - 1.4 * warmth])


def flash_light(rng: np.random.Generator, illumination: int) -> np.ndarray:
    """Light of one of Multi-PIE's illuminations 00..19: the room's, and but for 00 and 19 a flash along the arc."""
    room = ambient(rng, rng.uniform(0.45, 0.6), 0.02 * rng.normal())
    if illumination in (0, _FLASHES + 1):
        return room + lamp(0.0, 1.2, 0.45, 0.0)
    return room + lamp(np.radians((illumination - 7) * 13.0), 0.25, 1.0, 0.0)


def draw_background(rng: np.random.Generator, image_size: tuple[int, int], plain: bool = False) -> np.ndarray:
    """A background [H, W, 3] in [0, 1]: a wall with its light, and unless plain things in front of it, out of focus."""
    height, width = image_size
    grey, tint = rng.uniform(0.12, 0.85), 0.04 * rng.normal(size=3)
    cells = (rng.integers(2, 7), rng.integers(2, 8))
    coarse = grey + tint + 0.10 * rng.normal(size=(*cells, 1)) + 0.02 * rng.normal(size=(*cells, 3))
    picture = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    if not plain:
        for _ in range(int(rng.integers(3, 16))):
            colour = tuple(float(value) for value in rng.uniform(0, 1) * 0.8 + 0.2 * rng.uniform(0, 1, 3))
            x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
            w, h = (int(value) for value in rng.integers(width // 30 + 2, width // 3, 2))
            if rng.uniform() < 0.5:
                cv2.rectangle(picture, (x - w // 2, y - h // 2), (x + w // 2, y + h // 2), colour, -1)
            elif rng.uniform() < 0.6:
                cv2.ellipse(picture, (x, y), (w // 2, h // 2), float(rng.uniform(0, 180)), 0, 360, colour, -1)
            else:
                end = (int(rng.integers(0, width)), int(rng.integers(0, height)))
                cv2.line(picture, (x, y), end, colour, int(rng.integers(2, 12)))
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.002, 0.02) * width + 0.5))
    return np.clip(picture, 0, 1)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an RGB uint8 image [H, W, 3]."""
    cv2.imwrite(str(path), image[..., ::-1], _FAST_PNG)


class Camera(NamedTuple):
    """What a camera makes of what it sees.

    gains [3]: of its white balance; contrast: of its response, 0 a straight line;
    exposure: a factor; blur: in pixels; grain: of a mid grey;
    quality: of its JPEG, None where it writes what it has.
    """

    gains: np.ndarray
    contrast: float
    exposure: float
    blur: float
    grain: float
    quality: int | None


def draw_camera(rng: np.random.Generator, studio: bool = False) -> Camera:
    """A camera at random: of anybody, or of a studio, where all are adjusted alike."""
    spread = 0.25 if studio else 1.0
    return Camera(
        gains=1 + spread * 0.05 * rng.normal(size=3),
        contrast=0.3 + spread * 0.3 * rng.normal(),
        exposure=1 + spread * 0.12 * rng.normal(),
        blur=rng.uniform(0.3, 0.6) if studio else rng.uniform(0.2, 1.1),
        grain=0.004 if studio else rng.uniform(0.003, 0.025),
        quality=None if studio else int(rng.integers(55, 97)),
    )


def expose(picture: np.ndarray, camera: Camera, grain: np.ndarray) -> np.ndarray:
    """What a camera writes, RGB uint8, of a picture float32 [H, W, 3] in [0, 1] and standard normal grain [H, W, 3]."""
    exposed = cv2.GaussianBlur(picture, (0, 0), camera.blur) if camera.blur > 0.25 else picture
    exposed = np.clip(exposed * (camera.gains * camera.exposure).astype(np.float32), 0, 1)
    # Steeper in the middle and flatter at both ends, or the other way.
    exposed += np.float32(2 * camera.contrast) * exposed * (1 - exposed) * (exposed - np.float32(0.5))
    exposed += np.float32(camera.grain) * grain
    image = (np.clip(exposed, 0, 1) * 255 + 0.5).astype(np.uint8)
    if camera.quality is None:
        return image
    written = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, camera.quality])[1]
    read = cv2.imdecode(written, cv2.IMREAD_COLOR)
    assert read is not None
    return np.ascontiguousarray(read[..., ::-1])


class Photographer:
    """Photographs of one person's sculpted heads: the skin is painted once, each view rasterized once."""

    def __init__(self, sculptor: Sculptor, person: Person, rng: np.random.Generator) -> None:
        self._faces = torch.tensor(sculptor.faces)
        uv = torch.tensor(sculptor.uv_coordinates, dtype=torch.float32)
        self._corner_uv = torch.stack([uv[:, 0] * 2 - 1, 1 - uv[:, 1] * 2], -1)[torch.tensor(sculptor.uv_faces)]
        skin = paint(sculptor.canvas, person.look)
        self._skin = torch.from_numpy(skin).permute(2, 0, 1)[None].contiguous()
        # Its own, so that how many photographs are developed changes nothing else that is drawn.
        self._rng = rng.spawn(1)[0]
        self._grain = self._rng.standard_normal(_GRAIN_SIZE, np.float32)

    def see(self, normals: np.ndarray, projected: np.ndarray, image_size: tuple[int, int]) -> Sight:
        """Rasterize a head: normals [V, 3] in the frame of the light, projected [V, 3] in [-1, 1] and depth."""
        window, in_window = _window(projected, image_size)
        rows, columns = window
        size = (rows.stop - rows.start, columns.stop - columns.start)
        fragments = rasterize(torch.tensor(in_window, dtype=torch.float32)[None], self._faces, size)
        grid = interpolate(fragments, self._corner_uv)
        albedo = torch.nn.functional.grid_sample(self._skin, grid, align_corners=False, padding_mode="border")
        corner_normals = torch.tensor(normals, dtype=torch.float32)[self._faces]
        per_pixel = torch.nn.functional.normalize(interpolate(fragments, corner_normals), dim=-1)
        return Sight(fragments, albedo.permute(0, 2, 3, 1), per_pixel, window)

    def develop(self, picture: np.ndarray, camera: Camera) -> np.ndarray:
        """What the camera writes of a picture, float32 [H, W, 3] in [0, 1]: RGB uint8."""
        height, width = picture.shape[:2]
        top, left = self._rng.integers(0, np.array(self._grain.shape[:2]) - (height, width) + 1)
        return expose(picture, camera, self._grain[top : top + height, left : left + width])


def _window(projected: np.ndarray, image_size: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """Rows and columns of the picture that hold the head, and the head [V, 3] in that window's [-1, 1]."""
    size = np.array(image_size[::-1])
    pixels = (projected[:, :2] + 1) / 2 * size
    low = np.clip(np.floor(pixels.min(0)) - _MARGIN, 0, size - 1).astype(int)
    high = np.clip(np.ceil(pixels.max(0)) + _MARGIN, low + 1, size).astype(int)
    in_window = np.column_stack([(pixels - low) * 2 / (high - low) - 1, projected[:, 2]])
    return (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))), in_window


class Sight:
    """A head as one camera sees it, to be lit any number of times."""

    def __init__(
        self, fragments: Fragments, albedo: torch.Tensor, normals: torch.Tensor, window: tuple[slice, slice]
    ) -> None:
        """Keep what the window of the picture, rows and columns, shows."""
        self._seen = (fragments.pix_to_face >= 0)[0].numpy()[..., None]
        self._albedo, self._normals, self._window = albedo, normals, window
        self._edge = np.abs(cv2.GaussianBlur(self._seen.astype(np.float32), (3, 3), 0.6) - 0.5)[..., None] < 0.499

    def lit(self, light: np.ndarray, background: np.ndarray) -> np.ndarray:
        """The picture, float32 [H, W, 3] in [0, 1], under spherical-harmonic light [9, 3] in front of a background."""
        bright = shade(self._albedo, self._normals, torch.tensor(light, dtype=torch.float32)[None])[0].numpy()
        picture = background.astype(np.float32)
        head = np.where(self._seen, np.clip(bright, 0, 1), picture[self._window])
        picture[self._window] = np.where(self._edge, cv2.GaussianBlur(head, (3, 3), 0.6), head)
        return picture
