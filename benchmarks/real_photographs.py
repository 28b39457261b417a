"""How far the packaged network's landmarks are from others' on photographs of real people.

`python benchmarks/real_photographs.py` prints the figures of docs/start.md for skimage's astronaut; seconds. With
`--folder FOLDER` it takes every photograph there that has its 68 landmarks beside it, as 300-W has them: `NAME.pts`.
The last column is how far the packaged head itself stays off when it is fitted to those landmarks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import skimage

from mfnet.data.crop import read_image
from mfnet.data.landmarks import OUTER_EYES
from mfnet.errors import UserError
from mfnet.head import anny_head
from mfnet.reconstruct import Reconstructor
from mfnet.reconstruct.packaged_detector import PackagedDetector

_WITHIN = slice(17, 68)
_PHOTOGRAPHS = (".jpg", ".jpeg", ".png")


def read_points(path: Path) -> np.ndarray:
    """The landmarks [68, 2] of a .pts file of iBUG's, in pixels; the first pixel's middle is (1, 1) in the file."""
    try:
        rows = [line.split() for line in path.read_text().split("{")[1].split("}")[0].strip().splitlines()]
        points = np.array(rows, np.float64)
    except (IndexError, ValueError) as error:
        raise UserError(f"{path} is no .pts file; expected lines of two numbers between braces") from error
    if points.shape != (68, 2):
        raise UserError(f"{path}: {len(points)} points; expected 68")
    return points - 0.5


def photographs(folder: Path | None) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Names, photographs [H, W, 3] and landmarks [68, 2]: those of a folder, or the astronaut."""
    if folder is None:
        known = json.loads(Path("tests/astronaut_landmarks.json").read_text())["landmarks"]
        yield "astronaut", skimage.data.astronaut(), np.array(known)
        return
    files = sorted(folder.glob("*.pts"))
    if not files:
        raise UserError(f"{folder} has no .pts file; expected photographs, each with NAME.pts beside it")
    for points in files:
        images = [read_image(path) for path in sorted(folder.glob(f"{points.stem}.*")) if path.suffix in _PHOTOGRAPHS]
        if len(images) != 1 or images[0] is None:
            raise UserError(f"{points}: expected one photograph of the same name beside it")
        yield points.stem, images[0], read_points(points)


def percent_off(landmarks: np.ndarray | None, expected: np.ndarray) -> float:
    """Mean distance of the landmarks within the face, of the outer-eye distance; NaN where no face is found."""
    right, left = OUTER_EYES
    eyes = np.linalg.norm(expected[left] - expected[right])
    off = np.nan if landmarks is None else np.linalg.norm(landmarks - expected, axis=1)[_WITHIN].mean()
    return float(100 * off / eyes)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="photographs, each with NAME.pts beside it")
    folder = parser.parse_args().folder
    network, detector, rows = Reconstructor.packaged(), PackagedDetector(), {}
    fit = Reconstructor.fitting(anny_head())
    try:
        for name, photograph, expected in photographs(folder):
            given, found = network([photograph], [expected]).landmarks[0], detector("", photograph)
            rows[name] = {
                "crop given": percent_off(given, expected),
                "nothing given": percent_off(found, expected),
                "head fitted": percent_off(fit([photograph], [expected]).landmarks[0], expected),
            }
    except UserError as error:
        sys.exit(f"error: {error}")
    table = pd.DataFrame(rows).T
    if len(table) > 1:
        missed = table.isna().sum()
        table.loc["mean"], table.loc["median"], table.loc["no face found"] = table.mean(), table.median(), missed
    print(table.to_markdown(floatfmt=".1f"))


if __name__ == "__main__":
    main()
