"""What people have about their heads that no head model has: neck, clothes, hair that stands off, glasses, shadows.

All of it is painted over the picture, in coordinates of the face: `up` is 0 at the chin and 1 between the brows,
`across` has the same unit and is 0 over the middle of the landmarks.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from mfnet.synthesis.photograph import draw_background

# How many people have each. Of those whose hair stands off: how many have it long, how many a fringe. Of the
# long-haired: how many have it before their cheeks.
_NECKED, _CLOTHED, _HAIRY, _BESPECTACLED, _SHADED = 0.85, 0.7, 0.6, 0.2, 0.35
_LONG, _FRINGED, _CURTAINED = 0.4, 0.4, 0.5
_SUNGLASSES, _MOST_OCCLUDERS = 0.15, 3
# Above the one the head is scalp, below the other neck, which is drawn out in steps of this length.
_SCALP, _NECK, _NECK_STEP = 1.35, -0.06, 0.045
# So many texels of the scalp tell its colour; with the nose this far aside the eye behind it is hidden.
_FEWEST_TEXELS, _ONE_EYED = 100, 0.6
_RIGHT_EYE, _LEFT_EYE, _BROWS, _CHIN, _NOSE, _EARS = slice(36, 42), slice(42, 48), slice(17, 27), 8, 30, (0, 16)


class FaceFrame(NamedTuple):
    """Coordinates of the face for every pixel of a picture.

    across, up: [S, S]; height: of their unit, in pixels; tilt: clockwise, of `up` against the picture's, radians;
    facing: to which side of `across` the nose points, -1 to 1, 0 from the front.
    """

    across: np.ndarray
    up: np.ndarray
    height: float
    tilt: float
    facing: float

    @staticmethod
    def of(landmarks: np.ndarray, side: int) -> FaceFrame:
        """That of landmarks [68, 2], pixels, in a square picture."""
        chin, middle = landmarks[_CHIN], landmarks.mean(0)
        upward = landmarks[_BROWS].mean(0) - chin
        height = max(float(np.linalg.norm(upward)), 1.0)
        x, y = upward / height
        columns, rows = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
        up = ((columns - chin[0]) * x + (rows - chin[1]) * y) / height
        across = ((rows - middle[1]) * x - (columns - middle[0]) * y) / height
        nose = landmarks[_NOSE] - landmarks[list(_EARS)].mean(0)
        facing = float(np.clip(2 * (nose[1] * x - nose[0] * y) / height, -1, 1))
        return FaceFrame(across.astype(np.float32), up.astype(np.float32), height, float(np.arctan2(x, -y)), facing)


def dressed(
    outfit: int,
    rng: np.random.Generator,
    head: np.ndarray,
    covered: np.ndarray,
    background: np.ndarray,
    landmarks: np.ndarray,
) -> np.ndarray:
    """A head in front of a background, with what people have about theirs.

    Args:
        outfit: seeds what this person has: the same in every photograph.
        rng: decides on the shadow, another in every photograph.
        head: [S, S, 3] in [0, 1], the lit head.
        covered: [S, S] bool, where the picture shows it.
        background: [S, S, 3] in [0, 1].
        landmarks: [68, 2] of the head, pixels.

    Returns:
        [S, S, 3] float32 in [0, 1].
    """
    frame, wardrobe = FaceFrame.of(landmarks, len(head)), np.random.default_rng(outfit)
    has = {name: wardrobe.uniform() < share for name, share in
           (("neck", _NECKED), ("clothes", _CLOTHED), ("hair", _HAIRY), ("glasses", _BESPECTACLED))}  # fmt: skip
    # Each from a stream of its own: a view that shows less of one changes nothing of the others.
    for_clothes, for_hair, for_glasses = wardrobe.spawn(3)
    picture = background.astype(np.float32)
    if has["neck"]:
        picture = _with_longer_neck(picture, head, covered, frame)
    if has["clothes"]:
        picture = np.where(_clothes(for_clothes, frame)[..., None], _cloth(for_clothes, len(head)), picture)
    hair = _Hair(for_hair, head, covered, frame) if has["hair"] else None
    if hair:
        picture = np.where(hair.behind(covered)[..., None], hair.strands, picture)
    picture = np.where(covered[..., None], head, picture)
    if hair:
        # Soft, for single hairs are thinner than pixels.
        front = cv2.GaussianBlur((hair.in_front() & covered).astype(np.float32), (0, 0), 0.8)[..., None]
        picture = picture * (1 - front) + hair.strands * front
    if has["glasses"]:
        picture = _with_glasses(for_glasses, picture, landmarks, frame)
    if rng.uniform() < _SHADED:
        person = (picture != background).any(-1, keepdims=True)
        picture = np.where(person, picture * _shadow(rng, len(head)), picture)
    return picture.astype(np.float32)


def _with_longer_neck(picture: np.ndarray, head: np.ndarray, covered: np.ndarray, frame: FaceFrame) -> np.ndarray:
    """With the head's neck, which ends too soon, drawn out to the picture's border."""
    neck = (covered & (frame.up < _NECK)).astype(np.float32)
    step = np.array([-np.sin(frame.tilt), np.cos(frame.tilt)]) * frame.height * _NECK_STEP
    for k in range(int(len(head) / (frame.height * _NECK_STEP)), 0, -1):
        moved = np.array([[1, 0, k * step[0]], [0, 1, k * step[1]]], np.float32)
        below, skin = (
            cv2.warpAffine(part, moved, (len(head), len(head)), flags=cv2.INTER_NEAREST) for part in (neck, head)
        )
        picture = np.where(below[..., None] > 0, skin, picture)
    return picture


def _clothes(rng: np.random.Generator, frame: FaceFrame) -> np.ndarray:
    """Where shoulders and collar are, [S, S] bool."""
    collar, slope, width = rng.uniform(-0.75, -0.3), rng.uniform(0.15, 0.6), rng.uniform(1.3, 2.4)
    line = collar - slope * np.abs(frame.across - rng.normal() * 0.15)
    return (frame.up < line) & (np.abs(frame.across) < width)


def _cloth(rng: np.random.Generator, side: int) -> np.ndarray:
    pattern = draw_background(rng, (side, side), plain=rng.uniform() < 0.5)
    return np.clip(rng.uniform(0, 1, 3) * rng.uniform(0.2, 1.6) * pattern, 0, 1)


class _Hair:
    """One person's hair: strands [S, S, 3] in [0, 1] of the scalp's colour, and where they hang."""

    def __init__(self, rng: np.random.Generator, head: np.ndarray, covered: np.ndarray, frame: FaceFrame) -> None:
        side, grey = len(head), np.full(3, rng.uniform(0.03, 0.6))
        scalp = head[covered & (frame.up > _SCALP)]
        colour = scalp.mean(0) if len(scalp) > _FEWEST_TEXELS else grey
        streaks = _smooth_noise(rng, side, (4, 40)) + 0.7 * _smooth_noise(rng, side, (8, 8))
        light = rng.uniform(0.6, 1.2) * (1 + rng.uniform(0.05, 0.3) * streaks)
        self.strands = np.clip(colour * light[..., None], 0, 1).astype(np.float32)
        self._frame, self._edge = frame, _smooth_noise(rng, side, (10, 10))
        self._long, fringed, curtained = (rng.uniform() < share for share in (_LONG, _FRINGED, _CURTAINED))
        self._end = rng.uniform(-1.2, 0.4) if self._long else rng.uniform(0.5, 1.1)
        self._thickness = rng.uniform(0.02, 0.35) * frame.height
        self._fringe = rng.uniform(1.0, 1.5) if fringed else np.inf
        # Never before the nose, where the head is seen from a side.
        curtains = rng.uniform(0.42, 0.7, 2) + np.maximum([-frame.facing, frame.facing], 0)
        self._curtains = curtains if self._long and curtained else np.full(2, np.inf)

    def behind(self, covered: np.ndarray) -> np.ndarray:
        """Where hair is seen beside the head, [S, S] bool: not before a face that is seen from a side."""
        across, up, facing = self._frame.across, self._frame.up, self._frame.facing
        off = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 3)
        above = up > self._end + 0.12 * self._edge
        before = (across * np.sign(facing) > 0.5 - 0.5 * abs(facing)) & (up < 1.1) & (abs(facing) > 0.25)
        near = (off < self._thickness * np.clip(1 + 0.5 * self._edge, 0, None)) & ~before
        falling = (np.abs(across + 0.6 * facing) < 0.7 + 0.1 * self._edge) & (up < 1) & ~before
        return above & (near | (falling & self._long))

    def in_front(self) -> np.ndarray:
        """Where hair hangs over the head, [S, S] bool."""
        across, up = self._frame.across + 0.06 * self._edge, self._frame.up + 0.1 * self._edge
        beside = (across < -self._curtains[0]) | (across > self._curtains[1])
        return (up > self._fringe) | (beside & (up > self._end))


def _shadow(rng: np.random.Generator, side: int) -> np.ndarray:
    """What something between lamp and head leaves of the light, [S, S, 1]: hard or soft at its edge."""
    cells = int(rng.integers(2, 5))
    depth = rng.uniform(1.5, 10) * (_smooth_noise(rng, side, (cells, cells)) - rng.normal() * 0.5)
    return (1 - rng.uniform(0.2, 0.65) * (1 + np.tanh(depth)) / 2)[..., None].astype(np.float32)


def _smooth_noise(rng: np.random.Generator, side: int, cells: tuple[int, int]) -> np.ndarray:
    grid = rng.standard_normal(cells, np.float32)
    return np.asarray(cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC))


def _with_glasses(rng: np.random.Generator, picture: np.ndarray, landmarks: np.ndarray, frame: FaceFrame) -> np.ndarray:
    """With glasses on: rims, a bridge, temples, and lenses that reflect or are dark."""
    rims, lenses = np.zeros(picture.shape[:2], np.uint8), np.zeros(picture.shape[:2], np.uint8)
    thickness, wide = int(rng.integers(1, 3)), rng.uniform(0.75, 1.1)
    high, tilt = rng.uniform(0.08, 0.22) * frame.height, float(np.degrees(frame.tilt))
    bridge = []
    for eye, outer_corner, inner_corner, ear, hidden in (
        (_RIGHT_EYE, 36, 39, 0, frame.facing < -_ONE_EYED), (_LEFT_EYE, 45, 42, 16, frame.facing > _ONE_EYED),
    ):  # fmt: skip
        middle = landmarks[eye].mean(0)
        half = landmarks[outer_corner] - middle
        bridge.append(middle + 1.1 * (landmarks[inner_corner] - middle))
        if hidden:
            continue
        axes = (max(int(wide * np.linalg.norm(half) + 2), 1), max(int(high), 1))
        for layer, width in ((rims, thickness), (lenses, -1)):
            cv2.ellipse(layer, _pixel(middle), axes, tilt, 0, 360, 255, width, cv2.LINE_AA)
        cv2.line(rims, _pixel(middle + 1.3 * half), _pixel(landmarks[ear]), 255, thickness, cv2.LINE_AA)
    cv2.line(rims, _pixel(bridge[0]), _pixel(bridge[1]), 255, thickness, cv2.LINE_AA)
    dark = rng.uniform() < _SUNGLASSES
    opacity, glass = (rng.uniform(0.6, 0.97), rng.uniform(0, 0.2)) if dark else (rng.uniform(0, 0.25), 0.9)
    picture = picture + (opacity / 255 * lenses)[..., None] * (glass - picture)
    return picture + (rims / 255)[..., None] * (rng.uniform(0, 0.7) * rng.uniform(0.6, 1, 3) - picture)


def _pixel(place: np.ndarray) -> tuple[int, int]:
    """A place as OpenCV counts, 0 in the middle of the first pixel."""
    x, y = np.round(np.clip(place - 0.5, -1e4, 1e4)).astype(int)
    return int(x), int(y)


def occluded(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """A picture [S, S, 3] with a few things in front of the head: hands, scarves and the like are patches here."""
    side = picture.shape[0]
    for _ in range(int(rng.integers(1, _MOST_OCCLUDERS + 1))):
        patch = np.zeros((side, side), np.float32)
        centre = tuple(int(value) for value in rng.uniform(0.05, 0.95, 2) * side)
        axes = tuple(int(value) for value in rng.uniform(0.05, 0.28, 2) * side)
        if rng.uniform() < 0.6:
            cv2.ellipse(patch, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
        else:
            end = tuple(int(value) for value in rng.uniform(0, 1, 2) * side)
            cv2.line(patch, centre, end, 1.0, int(rng.integers(2, max(3, side // 10))))
        soft = cv2.GaussianBlur(patch, (0, 0), float(rng.uniform(0.5, 2)))[..., None]
        picture = picture * (1 - soft) + draw_background(rng, (side, side)) * soft
    return picture
