"""Pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mfnet.data.aflw2000 import BINS, AflwItem
from mfnet.data.crop import cut, normalised
from mfnet.evaluation.protocol.aflw2000 import read_photograph
from mfnet.reconstruct import Reconstructor

_SIDE = 160
_TRUE, _PREDICTED = (60, 220, 60), (235, 50, 40)


def contact_sheet(pictures: Sequence[np.ndarray], columns: int, side: int) -> np.ndarray:
    """Pictures of any size as a grid of squares, RGB uint8."""
    squares = [cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA) for picture in pictures]
    blank = np.full((side, side, 3), 255, np.uint8)
    squares += [blank] * (-len(squares) % columns)
    rows = [np.concatenate(squares[k : k + columns], 1) for k in range(0, len(squares), columns)]
    return np.concatenate(rows)


def landmark_sheet(
    reconstructor: Reconstructor, items: Sequence[AflwItem], landmarks: Sequence[np.ndarray], per_bin: int = 4
) -> np.ndarray:
    """A row per yaw bin, as in the paper's figure 5: crop, shape over it, true (green) and predicted (red) landmarks.

    The photographs are spread evenly over the bin; RGB uint8.
    """
    pictures = []
    for name in BINS:
        among = [index for index, item in enumerate(items) if item.bin == name]
        # Where there are fewer than wanted some would repeat.
        spread = dict.fromkeys(among[k] for k in np.linspace(0, len(among) - 1, per_bin).astype(int) if among)
        for index in spread:
            item, image = items[index], read_photograph(items[index])
            reconstruction = reconstructor([image], [item.landmarks[:, :2]])
            crop = reconstruction.cameras[0].crop
            small = cut(image, crop, _SIDE)
            marked = small.copy()
            for points, colour in ((item.landmarks[:, :2], _TRUE), (landmarks[index], _PREDICTED)):
                for point in (normalised(points, crop) + 1) * (_SIDE / 2):
                    # OpenCV counts from the first pixel's centre.
                    cv2.circle(marked, [round(value - 0.5) for value in point], 1, colour, -1, cv2.LINE_AA)
            pictures += [small, reconstruction.overlays[0], marked]
        pictures += [np.full((_SIDE, _SIDE, 3), 255, np.uint8)] * (3 * (per_bin - len(spread)))
    return contact_sheet(pictures, 3 * per_bin, _SIDE)
