"""Landmarks on AFLW2000-3D: the normalised mean error by yaw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from mfnet.data.aflw2000 import BINS, AflwItem
from mfnet.data.crop import read_image
from mfnet.errors import UserError
from mfnet.method.network import decode
from mfnet.parallel import progress
from mfnet.reconstruct import Reconstructor


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
    predicted: list[np.ndarray] = []
    for start in progress(range(0, len(items), batch), "AFLW2000-3D"):
        people = [
            [reconstructor.square(read_photograph(item), item.landmarks[:, :2])]
            for item in items[start : start + batch]
        ]
        with torch.no_grad():
            decoded = decode(reconstructor.flame, reconstructor.predict(people).parameters)
            in_crops = reconstructor.flame.fixed_landmarks(decoded.projected)[..., :2].double().cpu()
        predicted += [squares[0].crop.to_photograph(one).numpy() for one, squares in zip(in_crops, people, strict=True)]
    return predicted


def read_photograph(item: AflwItem) -> np.ndarray:
    """RGB uint8 of an item; a UserError where it is no readable image."""
    image = read_image(item.image)
    if image is None:
        raise UserError(f"{item.image} is not a readable image")
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
    means_by_bin: dict[str, dict[str, float | None]] = {
        name: {"nme_percent": mean, "n": len(values)} for name, mean, values in zip(BINS, means, errors, strict=True)
    }
    present = [mean for mean in means if mean is not None]
    overall = float(np.mean(present)) if len(present) == len(BINS) else None
    return means_by_bin | {"mean": {"nme_percent": overall, "n": len(per_image)}}
