"""One brush for every head: skin, lips, brows, lashes, beard, eyes and hair, painted where a head's texels lie.

The brush knows places on one face only, in metres and FLAME's axes, the packaged head's mean. Another head's texels are
carried there by its landmarks (`mfnet.head.canvas`), so that brows lie on its brows.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.spatial import cKDTree

RESOLUTION, N_ALBEDO = 256, 40
_N_LOOKS, _SEED = 250, 0
# Skin from very light to very dark, sRGB, after photographs' averages of the ten tones of Monk's scale.
_TONES = np.array([
    (0.93, 0.80, 0.72), (0.90, 0.75, 0.65), (0.85, 0.68, 0.56), (0.78, 0.60, 0.47), (0.69, 0.50, 0.37),
    (0.58, 0.40, 0.28), (0.46, 0.30, 0.21), (0.36, 0.24, 0.17), (0.28, 0.185, 0.14), (0.22, 0.15, 0.12),
])  # fmt: skip
_HAIR_COLOURS = np.array([
    (0.06, 0.05, 0.045), (0.12, 0.08, 0.06), (0.22, 0.14, 0.09), (0.33, 0.22, 0.13), (0.52, 0.38, 0.22),
    (0.66, 0.53, 0.34), (0.42, 0.20, 0.10),
])  # fmt: skip
_EYE_COLOURS = np.array([
    (0.17, 0.10, 0.06), (0.26, 0.16, 0.09), (0.35, 0.28, 0.14), (0.30, 0.36, 0.24), (0.32, 0.44, 0.54),
    (0.45, 0.50, 0.54),
])  # fmt: skip
# How frequent the first six colours of hair are, in people who have light hair among them and in all others.
_LIGHT, _DARK = (0.05, 0.15, 0.25, 0.25, 0.2, 0.1), (0.6, 0.3, 0.1, 0.0, 0.0, 0.0)
_GREY, _SCLERA, _PUPIL = np.array((0.68, 0.67, 0.66)), np.array((0.80, 0.77, 0.74)), np.array((0.02, 0.02, 0.02))
_MOUTH, _TONGUE, _BLOOD = np.array((0.16, 0.05, 0.05)), np.array((0.62, 0.30, 0.30)), np.array((0.62, 0.20, 0.18))


class Canvas(NamedTuple):
    """What each of R x R texels shows.

    positions [R, R, 3]: where it lies on the brush's face, metres; landmarks [68, 3] there; gaze [R, R]: degrees from
    an eyeball's gaze, 180 elsewhere; eyeball, mouth, socket, ear [R, R] bool; lips, lashes [R, R]: how far a texel is
    one in [0, 1]; row 0 at v = 1.
    """

    positions: np.ndarray
    landmarks: np.ndarray
    gaze: np.ndarray
    eyeball: np.ndarray
    mouth: np.ndarray
    socket: np.ndarray
    ear: np.ndarray
    lips: np.ndarray
    lashes: np.ndarray


class Look(NamedTuple):
    """What a person's colours are; every number in [0, 1] unless said.

    tone: light to dark; warmth: pink (-1) to yellow (1); blush, shadows, lips, lashes: how strong; brows: how dense;
    brow_mm: their half height; hair, eyes: places in the tables of colours; grey: of the hair; hairline_mm: raised by
    so much (negative: lower); recession: at the temples; cover: 0 shaved, 1 hair; long: hair down the neck;
    beard, stubble, moustache: how dense; freckles, blemishes, age: how strong; seed: of what is scattered.
    """

    tone: float
    warmth: float
    blush: float
    shadows: float
    lips: float
    lashes: float
    brows: float
    brow_mm: float
    hair: float
    eyes: float
    grey: float
    hairline_mm: float
    recession: float
    cover: float
    long: float
    beard: float
    stubble: float
    moustache: float
    freckles: float
    blemishes: float
    age: float
    seed: int


def draw_look(rng: np.random.Generator, traits: dict[str, float]) -> Look:
    """Colours for a person of these traits (female 0 or 1, age in years, african and asian as shares)."""
    female, years = traits["female"] > 0.5, float(np.clip(traits["age"], 18, 85))
    african, asian = np.clip(traits["african"], 0, 1), np.clip(traits["asian"], 0, 1)
    european = max(0.0, 1 - african - asian)
    old = (years - 18) / 62
    tone = 0.74 * african + 0.34 * asian + 0.20 * european + 0.10 * rng.normal()
    light_hair = european**2 * rng.uniform() > 0.25
    shaven = bool(female or rng.uniform() < 0.55)
    return Look(
        tone=float(np.clip(tone, 0, 1)),
        warmth=float(np.clip(0.35 * (asian - european) + 0.35 * rng.normal(), -1, 1)),
        blush=rng.beta(2, 3), shadows=float(np.clip(rng.beta(2, 4) + 0.3 * old, 0, 1)),
        lips=float(np.clip(rng.beta(3, 3) + 0.25 * female * rng.uniform(), 0, 1)),
        lashes=float(np.clip(0.45 + 0.4 * female * rng.uniform() + 0.1 * rng.normal(), 0.1, 1)),
        brows=rng.beta(5, 2), brow_mm=(2.2 if female else 3.2) + 0.5 * rng.normal(),
        hair=6.0 if rng.uniform() < 0.04 * european else float(rng.choice(6, p=_LIGHT if light_hair else _DARK)),
        eyes=float(rng.uniform(1.5, 5) if light_hair else rng.uniform(0, 1.5)),
        grey=float(np.clip((years - 45) / 30 + 0.25 * rng.normal(), 0, 1)),
        hairline_mm=6 * rng.normal(), recession=0.0 if female else float(np.clip(rng.beta(2, 3) * (0.3 + old), 0, 1)),
        cover=1.0 if female or rng.uniform() > 0.12 + 0.25 * old else rng.uniform(0.0, 0.35),
        long=float(rng.uniform() < (0.7 if female else 0.06)),
        beard=0.0 if shaven else rng.beta(2, 2), stubble=0.0 if female else rng.beta(2, 3),
        moustache=0.0 if shaven else rng.beta(3, 2),
        freckles=float(np.clip(rng.normal() * european * 0.7, 0, 1)), blemishes=rng.beta(2, 5), age=float(old),
        seed=int(rng.integers(2**31)),
    )  # fmt: skip


def draw_traits(rng: np.random.Generator) -> dict[str, float]:
    """Sex, age and ancestry of an adult, in equal parts of the sexes and evenly over ages and ancestries."""
    shares = rng.dirichlet([0.5] * 3)
    return {
        "female": float(rng.integers(2)), "age": float(rng.uniform(18, 80)),
        "african": float(shares[0]), "asian": float(shares[1]),
    }  # fmt: skip


def albedo_model(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Mean [R, R, 3] and directions [40, R, R, 3] of one standard deviation over looks, float32 and float16."""
    rng = np.random.default_rng(_SEED)
    looks = np.stack([paint(canvas, draw_look(rng, draw_traits(rng))) for _ in range(_N_LOOKS)])
    mean = looks.mean(0)
    flat = (looks - mean).reshape(_N_LOOKS, -1)
    squares, weights = np.linalg.eigh(flat @ flat.T)
    weights = weights[:, np.argsort(squares)[::-1][:N_ALBEDO]]
    basis = weights.T @ flat / np.sqrt(_N_LOOKS)
    basis *= np.where(basis.sum(1) < 0, -1.0, 1.0)[:, None]
    return mean.astype(np.float32), basis.reshape(N_ALBEDO, *mean.shape).astype(np.float16)


def paint(canvas: Canvas, look: Look) -> np.ndarray:
    """A person's albedo, sRGB [R, R, 3] in [0, 1], float32."""
    rng = np.random.default_rng(look.seed)
    colour = _skin(canvas, look, rng)
    colour = _marks(canvas, look, rng, colour)
    hair = _interpolated(_HAIR_COLOURS, look.hair)
    hair = hair + look.grey * 0.9 * (_GREY - hair)
    colour = _face_hair(canvas, look, rng, colour, hair)
    colour = _scalp_hair(canvas, look, rng, colour, hair)
    colour = _mixed(colour, _BLOOD * 0.8 + 0.1, 0.45 * canvas.socket)
    colour = np.where(canvas.mouth[..., None], _inside_mouth(canvas), colour)
    return np.clip(np.where(canvas.eyeball[..., None], _eyeball(canvas, look), colour), 0.01, 1).astype(np.float32)


def _skin(canvas: Canvas, look: Look, rng: np.random.Generator) -> np.ndarray:
    """The skin's colour with what blood, shadow and lips make of it."""
    base = _interpolated(_TONES, look.tone * (len(_TONES) - 1))
    base = base * (1 + look.warmth * np.array((0.0, 0.004, -0.045)))
    ruddy = base * np.array((1.0, 0.80, 0.78)) + np.array((0.015, 0.0, 0.0))
    colour: np.ndarray = np.broadcast_to(base.astype(np.float32), canvas.positions.shape).copy()
    x, y, z = _millimetres(canvas)
    flush = 0.75 * _blob(x, y, z, (43, -8, 38), (15, 13, 24)) + 0.6 * _blob(x, y, z, (0, -16, 68), (15, 11, 18))
    flush = flush + 0.5 * canvas.ear + 0.3 * _blob(x, y, z, (0, -90, 42), (18, 14, 24))
    colour = _mixed(colour, ruddy, np.minimum(0.25 + 0.75 * look.blush, 1) * flush)
    shade = 0.8 * _blob(x, y, z, (30, 8, 42), (12, 4.5, 14)) + 0.6 * _blob(x, y, z, (31, 29, 40), (15, 5, 12))
    shade = shade + look.age * 0.4 * _fold(canvas, ((17, -22), (29, -50)), 3.0)
    colour = _mixed(colour, base * np.array((0.72, 0.66, 0.68)), np.minimum(look.shadows * shade, 1))
    lip = base * np.array((0.88, 0.68, 0.68)) + look.lips * np.array((0.03, -0.03, -0.015))
    colour = _mixed(colour, lip, (0.35 + 0.6 * look.lips) * canvas.lips)
    for smoothness, strength in ((0.03, 0.030), (0.008, 0.018), (0.003, 0.014)):
        colour = colour * (1 + strength * _noise(rng, len(colour), smoothness))[..., None]
    return colour


def _marks(canvas: Canvas, look: Look, rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """Freckles, moles, spots of age and wrinkles."""
    x, y, z = _millimetres(canvas)
    size = len(colour)
    speckled = np.clip(_noise(rng, size, 0.0035) - 1.4, 0, 1) * _blob(x, y, z, (24, 2, 52), (34, 24, 40))
    spots = np.clip(_noise(rng, size, 0.012) - 1.9, 0, 1)
    strength = 0.45 * look.freckles * speckled + (0.10 * look.blemishes + 0.22 * look.age) * spots
    colour = _mixed(colour, colour * np.array((0.62, 0.50, 0.42)), np.minimum(strength, 0.8))
    red = np.clip(_noise(rng, size, 0.006) - 2.2, 0, 1) * look.blemishes
    colour = _mixed(colour, colour * np.array((1.0, 0.65, 0.62)), np.minimum(red, 0.7))
    wrinkles = sum(np.exp(-(((y - level - 2 * np.sin(x / 11)) / 1.0) ** 2)) for level in (62, 72, 82))
    wrinkles = wrinkles * _soft(38 - np.abs(x), 6) * _soft(z - 20, 8)
    aside = np.abs(x) - 50
    crow = np.exp(-(((y - 20 + 0.5 * aside) / 0.9) ** 2)) + np.exp(-(((y - 20 - 0.5 * aside) / 0.9) ** 2))
    crow = crow * _soft(aside, 2) * _soft(12 - aside, 3) * _soft(z, 6)
    return colour * (1 - 0.20 * look.age**2 * np.minimum(wrinkles + crow, 1))[..., None]


def _face_hair(
    canvas: Canvas, look: Look, rng: np.random.Generator, colour: np.ndarray, hair: np.ndarray
) -> np.ndarray:
    """Brows, lashes, beard."""
    x, y, z = _millimetres(canvas)
    strands = 0.5 + 0.5 * np.clip(1 + 0.6 * _noise(rng, len(colour), 0.0025), 0, 2)
    points = 1000 * canvas.landmarks
    brow = np.zeros(x.shape)
    for line, inner_first in ((points[17:22], False), (points[22:27], True)):
        along, off = _along(x, y, line[:, :2])
        along = along if inner_first else 1 - along
        half = look.brow_mm * (0.65 + 0.5 * np.sin(np.pi * np.clip(along + 0.12, 0, 1)))
        ends = _soft(along - 0.02, 0.03) * _soft(1.04 - along, 0.04)
        brow = np.maximum(brow, np.exp(-((off / half) ** 2)) * ends)
    dark = np.minimum(hair * 0.8, colour.mean((0, 1)) * 0.7)
    colour = _mixed(colour, dark, np.minimum(1.1 * brow * look.brows * strands, 1) * _soft(z - 5, 5))
    colour = _mixed(colour, np.array((0.08, 0.06, 0.05)), look.lashes * canvas.lashes)
    chin = _blob(x, y, z, (0, -88, 40), (34, 20, 44)) + _blob(x, y, z, (42, -66, 10), (18, 30, 34))
    lip = _blob(x, y, z, (0, -38, 64), (22, 6, 20))
    area = np.minimum(chin + _blob(x, y, z, (58, -42, -16), (14, 30, 16)), 1) * (1 - canvas.lips)
    colour = colour * (1 - 0.22 * look.stubble * np.minimum(area + lip, 1))[..., None]
    density = np.minimum(1.25 * look.beard * area + look.moustache * lip, 1) * (1 - canvas.lips)
    return _mixed(colour, hair * 0.9, np.minimum(density * strands, 0.95))


def _scalp_hair(
    canvas: Canvas, look: Look, rng: np.random.Generator, colour: np.ndarray, hair: np.ndarray
) -> np.ndarray:
    """Hair as a cap: above a plane from the forehead to the sideburns, and down to the nape."""
    x, y, z = _millimetres(canvas)
    aside = np.abs(x)
    line = ((y - 100 - look.hairline_mm) * 76 - (z - 52) * 92) / 119
    line = line - 26 * look.recession * np.exp(-(((aside - 38) / 17) ** 2)) + 3 * np.exp(-((x / 9) ** 2))
    line = line + 1.2 * _noise(rng, len(colour), 0.006)
    nape = y + np.where(z < -70, 58, 12) + 80 * look.long
    cap = _soft(line, 2.0) * _soft(nape, 5.0)
    falls = look.long * _soft(-44 - z, 5) * _soft(y + 120, 10)
    cap = np.maximum(cap, falls) * ~canvas.ear
    strands = 1 + 0.16 * _noise(rng, len(colour), (0.012, 0.0018)) + 0.10 * _noise(rng, len(colour), (0.05, 0.006))
    shaved = 0.30 * (1 - look.cover)
    colour = _mixed(colour, colour * 0.8 + 0.1 * hair, np.minimum(shaved * cap, 1))
    return _mixed(colour, hair * np.clip(strands, 0.5, 1.6)[..., None], look.cover * cap)


def _inside_mouth(canvas: Canvas) -> np.ndarray:
    """Dark, but for the tongue, which lies in the middle and low."""
    x, y, z = _millimetres(canvas)
    tongue = _soft(22 - np.abs(x), 3) * _soft(-50 - y, 3) * _soft(z - 0, 10)
    return _mixed(np.broadcast_to(_MOUTH, canvas.positions.shape), _TONGUE, 0.5 * tongue)


def _eyeball(canvas: Canvas, look: Look) -> np.ndarray:
    """White, iris with a dark rim, pupil."""
    iris = _interpolated(_EYE_COLOURS, look.eyes)
    angle = canvas.gaze
    colour = np.broadcast_to(_SCLERA * (1 - 0.06 * look.age), canvas.positions.shape)
    colour = _mixed(colour, iris, _soft(29 - angle, 1.2))
    colour = _mixed(colour, iris * 0.35, np.exp(-(((angle - 28) / 2.2) ** 2)) * 0.8)
    return _mixed(colour, _PUPIL, _soft(11 - angle, 0.8))


def lips_at(positions: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """[R, R] how far what lies at positions [R, R, 3] is lip: within the border of the landmarks 48..59, [68, 3]."""
    x, y, z = np.moveaxis(1000 * positions, -1, 0)
    outer = 1000 * landmarks[48:60, :2]
    upper, lower = outer[:7], outer[[0, 11, 10, 9, 8, 7, 6]]
    inside = np.minimum(
        _smooth_line(upper)(x) - y,
        y - _smooth_line(lower)(x),
    )  # fmt: skip
    return _soft(inside, 0.7) * _soft(outer[6, 0] - np.abs(x), 0.8) * _soft(z - 20, 4)


def lashes_at(positions: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """[R, R] how far what lies at positions [R, R, 3] is at the rim of a lid of the landmarks [68, 3]."""
    points = 1000 * landmarks
    lashes = np.zeros(positions.shape[:2])
    for upper, lower in ((points[36:40], points[[39, 40, 41, 36]]), (points[42:46], points[[45, 46, 47, 42]])):
        for line, strength, width in ((upper, 1.0, 0.9), (lower, 0.4, 0.6)):
            distance = _distance_to(1000 * positions, _bent(line))
            lashes = np.maximum(lashes, strength * np.exp(-((distance / width) ** 2)))
    return lashes


def _smooth_line(points: np.ndarray) -> PchipInterpolator:
    return PchipInterpolator(points[:, 0], points[:, 1], extrapolate=True)


def _millimetres(canvas: Canvas) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y, z = np.ascontiguousarray(np.moveaxis(np.float32(1000) * canvas.positions, -1, 0))
    return x, y, z


def _blob(x: np.ndarray, y: np.ndarray, z: np.ndarray, centre: tuple, reach: tuple) -> np.ndarray:
    """A soft spot of these millimetres and its mirror image."""
    squared = ((np.abs(x) - centre[0]) / reach[0]) ** 2 + ((y - centre[1]) / reach[1]) ** 2
    return np.exp(-0.5 * (squared + ((z - centre[2]) / reach[2]) ** 2))


def _fold(canvas: Canvas, line: tuple, width: float) -> np.ndarray:
    """A soft line of the front of the face and its mirror image, from one (x, y) in millimetres to another."""
    x, y, z = _millimetres(canvas)
    along, off = _along(np.abs(x), y, np.array(line, float))
    return np.exp(-((off / width) ** 2)) * _soft(along + 0.05, 0.05) * _soft(1.05 - along, 0.05) * _soft(z - 20, 5)


def _along(x: np.ndarray, y: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where beside a line [N, 2] points lie: their place along it from 0 to 1 in x, and their distance in y."""
    line = line[np.argsort(line[:, 0])]
    line = line.astype(np.float32)
    return (x - line[0, 0]) / (line[-1, 0] - line[0, 0]), y - _smooth_line(line)(x).astype(np.float32)


def _bent(points: np.ndarray) -> np.ndarray:
    """A polyline [N, 3] through these points, smooth and dense."""
    return PchipInterpolator(np.arange(len(points)), points)(np.linspace(0, len(points) - 1, 40))


def _distance_to(positions: np.ndarray, line: np.ndarray) -> np.ndarray:
    near = np.linalg.norm(positions - line.mean(0), axis=-1) < 40
    distance = np.full(positions.shape[:2], np.inf)
    distance[near] = cKDTree(line).query(positions[near])[0]
    return distance


def _soft(value: np.ndarray, width: float) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(value / width)


def _mixed(base: np.ndarray, colour: np.ndarray, weight: np.ndarray) -> np.ndarray:
    # In single precision: a person's skin is half a million of these.
    base, colour, weight = (np.asarray(part, np.float32) for part in (base, colour, weight))
    return base + weight[..., None] * (colour - base)


def _interpolated(table: np.ndarray, place: float) -> np.ndarray:
    below = int(np.clip(np.floor(place), 0, len(table) - 2))
    share = np.clip(place - below, 0, 1)
    return table[below] * (1 - share) + table[below + 1] * share


def _noise(rng: np.random.Generator, size: int, smoothness: float | tuple[float, float]) -> np.ndarray:
    """A smooth random field [size, size] of unit variance, `smoothness` of the texture's side."""
    down, across = np.maximum(np.broadcast_to(smoothness, 2) * size, 0.3)
    white = rng.standard_normal((size, size), np.float32)
    field = cv2.GaussianBlur(white, (0, 0), across, sigmaY=down, borderType=cv2.BORDER_REPLICATE)
    return field / field.std()
