"""The 68 landmarks without anybody's weights: a cascade finds the face, the packaged network its landmarks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache

import cv2
import numpy as np
import torch

from mfnet.data.crop import crop_around, cut
from mfnet.data.landmarks import FaceAlignment, LandmarkDetector
from mfnet.errors import UserError
from mfnet.head import Flame, anny_head
from mfnet.method.network import decode
from mfnet.method.start import load_start
from mfnet.render.camera import Crop

# The cascade looks at pictures no larger than this, for faces from a tenth of the shorter side on.
_LONGEST_SIDE, _SMALLEST_FACE = 480, 0.1
# The crop's side in sides of the cascade's box, which spans brows to mouth.
_SIDES = 1.2
# The cascade misses profiles, so squares of these shares of the shorter side are looked at too; this often a side.
_SHARES, _PER_SIDE = (0.3, 0.45, 0.65, 0.9), 4
_ROUNDS, _TRIED = 3, 3
# Above this mean spread of the points, in halves of the crop, there is no face.
_WIDEST_SPREAD = 0.085


class PackagedDetector:
    """Finds one face, and its landmarks as the packaged network has them: the face that the network is surest of."""

    one_process = False

    def __init__(self) -> None:
        self._network, self._config = load_start()
        directions = self._config.directions
        self._flame = Flame(anny_head(), directions.n_shape, directions.n_expression, landmarks_only=True)

    def __reduce__(self) -> tuple[Callable[[], PackagedDetector], tuple[()]]:
        # Another process reads the weights itself, and once.
        return _of_this_process, ()

    def __call__(self, relative_path: str, image: np.ndarray) -> np.ndarray | None:
        """See `mfnet.data.landmarks.LandmarkDetector`."""
        crops = [*self._faces(image), *_everywhere(image.shape[:2])]
        spread = self._looked_at(image, crops)[1]
        crops = [crops[k] for k in np.argsort(spread)[:_TRIED]]
        # From every answer a better crop, and from that a better answer.
        for _ in range(_ROUNDS):
            landmarks, spread = self._looked_at(image, crops)
            crops = [crop_around(one, self._config.crop_scale) for one in landmarks]
        best = spread.argmin()
        return landmarks[best] if spread[best] < _WIDEST_SPREAD else None

    @torch.no_grad()
    def _looked_at(self, image: np.ndarray, crops: list[Crop]) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks [M, 68, 2] in pixels by each of M crops, and the mean spread [M] of the points in it."""
        squares = np.stack([cut(image, crop, self._config.image_size) for crop in crops])
        pixels = torch.from_numpy(squares).permute(0, 3, 1, 2).float() / 255
        parameters, points = self._network(pixels[:, None])
        landmarks = decode(self._flame, parameters).landmarks[..., :2].double()
        placed = [crop.to_photograph(one).numpy() for crop, one in zip(crops, landmarks, strict=True)]
        return np.stack(placed), points.spread.mean((1, 2)).numpy()

    @cached_property
    def _cascade(self):  # type: ignore[no-untyped-def]
        from skimage.data import lbp_frontal_face_cascade_filename  # noqa: PLC0415  takes a second
        from skimage.feature import Cascade  # noqa: PLC0415

        return Cascade(lbp_frontal_face_cascade_filename())

    def _faces(self, image: np.ndarray) -> list[Crop]:
        shrink = min(1.0, _LONGEST_SIDE / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else image
        shorter = min(small.shape[:2])
        least = max(24, int(_SMALLEST_FACE * shorter))
        boxes = self._cascade.detect_multi_scale(
            img=small, scale_factor=1.1, step_ratio=1, min_size=(least, least), max_size=(shorter, shorter)
        )
        sides = [box["width"] / shrink for box in boxes]
        return [
            Crop(box["c"] / shrink + side / 2, box["r"] / shrink + side * 0.6, _SIDES * side)
            for box, side in zip(boxes, sides, strict=True)
        ]


@lru_cache(maxsize=1)
def _of_this_process() -> PackagedDetector:
    return PackagedDetector()


def _everywhere(image_size: tuple[int, int]) -> list[Crop]:
    """Squares of several sizes all over a photograph (H, W)."""
    height, width = image_size
    crops = []
    for share in _SHARES:
        side = share * min(height, width)
        step = side / _PER_SIDE
        columns, rows = (np.arange(side / 2, length - side / 2 + step, step) for length in (width, height))
        crops += [Crop(float(x), float(y), float(side)) for y in rows for x in columns]
    return crops


def best_detector() -> LandmarkDetector:
    """face-alignment where its weights are, else the packaged detector; says which."""
    try:
        detector: LandmarkDetector = FaceAlignment()
    except UserError:
        detector = PackagedDetector()
        print("landmarks: the packaged detector (the weights of face-alignment are not here)")
    else:
        print("landmarks: face-alignment")
    return detector
