"""Landmarks on AFLW2000-3D: the normalised mean error by yaw, and the photographs with shape and landmarks on them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
import torch

from mfnet.data.aflw2000 import BINS, AflwItem
from mfnet.data.crop import cut, read_image
from mfnet.errors import UserError
from mfnet.network import decode
from mfnet.parallel import progress
from mfnet.reconstruct import Reconstructor, contact_sheet

_SIDE = 160
_TRUE, _PREDICTED = (60, 220, 60), (235, 50, 40)


def normalised_mean_error(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean distance of landmarks in the image, in per cent of sqrt(w h) of the true ones' box (3DDFA's measure).

    Args:
        predicted, true: [68, 2] pixels.
    """
    width, height = np.ptp(true, axis=0)
    return float(100 * np.linalg.norm(predicted - true, axis=1).mean() / np.sqrt(width * height))


def predict_landmarks(reconstructor: Reconstructor, items: Sequence[AflwItem], batch: int) -> list[np.ndarray]:
    """Landmarks [68, 2] in pixels of every photograph, from it alone, cropped by its annotation as the set's users do.

    Raises:
        UserError: a photograph is not readable.
    """
    found: list[np.ndarray] = []
    for start in progress(range(0, len(items), batch), "AFLW2000-3D"):
        people = [[reconstructor.square(_read(item), item.landmarks[:, :2])] for item in items[start : start + batch]]
        with torch.no_grad():
            decoded = decode(reconstructor.flame, reconstructor.predict(people).parameters)
            landmarks = reconstructor.flame.fixed_landmarks(decoded.projected)[..., :2].double().cpu()
        found += [squares[0].crop.to_photograph(one).numpy() for one, squares in zip(landmarks, people, strict=True)]
    return found


def _read(item: AflwItem) -> np.ndarray:
    image = read_image(item.image)
    if image is None:
        raise UserError(f"data.aflw2000: {item.image} is not a readable image")
    return image


def score(items: Sequence[AflwItem], landmarks: Sequence[np.ndarray]) -> pd.DataFrame:
    """A row per photograph: stem, yaw in degrees, bin, and `nme_percent`."""
    errors = [normalised_mean_error(one, item.landmarks[:, :2]) for item, one in zip(items, landmarks, strict=True)]
    named = {name: [getattr(item, name) for item in items] for name in ("stem", "yaw", "bin")}
    return pd.DataFrame(named | {"nme_percent": errors})


def summarise(per_image: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Mean error and count of every yaw bin; `mean` is over the bins and not over photographs. Null where a bin, or for
    `mean` one of them, has none."""
    errors = [per_image.loc[per_image["bin"] == name, "nme_percent"] for name in BINS]
    means = [float(values.mean()) if len(values) else None for values in errors]
    found: dict[str, dict[str, float | None]] = {
        name: {"nme_percent": mean, "n": len(values)} for name, mean, values in zip(BINS, means, errors, strict=True)
    }
    present = [mean for mean in means if mean is not None]
    overall = float(np.mean(present)) if len(present) == len(BINS) else None
    return found | {"mean": {"nme_percent": overall, "n": len(per_image)}}


def picture_sheet(
    reconstructor: Reconstructor, items: Sequence[AflwItem], landmarks: Sequence[np.ndarray], per_bin: int = 4
) -> np.ndarray:
    """A row per yaw bin, as in the paper's figure 5: crop, shape over it, true (green) and found (red) landmarks.

    The photographs are spread evenly over the bin; RGB uint8.
    """
    pictures = []
    for name in BINS:
        among = [index for index, item in enumerate(items) if item.bin == name]
        # Where there are fewer than wanted some would repeat.
        chosen = dict.fromkeys(among[k] for k in np.linspace(0, len(among) - 1, per_bin).astype(int) if among)
        for index in chosen:
            item, image = items[index], _read(items[index])
            made = reconstructor([image], [item.landmarks[:, :2]])
            crop = made.cameras[0].crop
            small = cut(image, crop, _SIDE)
            marked = small.copy()
            for points, colour in ((item.landmarks[:, :2], _TRUE), (landmarks[index], _PREDICTED)):
                for point in (points - [crop.centre_x, crop.centre_y]) * (_SIDE / crop.side) + _SIDE / 2:
                    # OpenCV counts from the first pixel's centre.
                    cv2.circle(marked, [round(value - 0.5) for value in point], 1, colour, -1, cv2.LINE_AA)
            pictures += [small, made.overlays[0], marked]
        pictures += [np.full((_SIDE, _SIDE, 3), 255, np.uint8)] * (3 * (per_bin - len(chosen)))
    return contact_sheet(pictures, 3 * per_bin, _SIDE)
