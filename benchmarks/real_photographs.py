"""How far the packaged network's landmarks are from others' on photographs of real people.

`python benchmarks/real_photographs.py` prints the figures of docs/start.md for skimage's astronaut; seconds. With
`--folder FOLDER` it takes every photograph there that has its 68 landmarks beside it, as 300-W has them: `NAME.pts`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import skimage

from mfnet.data.crop import read_image
from mfnet.data.landmarks import OUTER_EYES
from mfnet.errors import UserError
from mfnet.reconstruct import Reconstructor
from mfnet.reconstruct.packaged_detector import PackagedDetector

_WITHIN = slice(17, 68)


def read_points(path: Path) -> np.ndarray:
    """The landmarks [68, 2] of a .pts file of iBUG's, in pixels; the first pixel's middle is (1, 1) in the file."""
    rows = [line.split() for line in path.read_text().split("{")[1].split("}")[0].strip().splitlines()]
    points = np.array(rows, np.float64)
    if points.shape != (68, 2):
        raise UserError(f"{path}: {len(points)} points; expected 68")
    return points - 0.5


def photographs(folder: Path | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Photograph [H, W, 3] and landmarks [68, 2] by name: those of a folder, or the astronaut."""
    if folder is None:
        known = json.loads(Path("tests/astronaut_landmarks.json").read_text())["landmarks"]
        return {"astronaut": (skimage.data.astronaut(), np.array(known))}
    found = {}
    for points in sorted(folder.glob("*.pts")):
        images = [read_image(path) for path in sorted(folder.glob(f"{points.stem}.*")) if path != points]
        if len(images) != 1 or images[0] is None:
            raise UserError(f"{points}: expected one photograph of the same name beside it")
        found[points.stem] = images[0], read_points(points)
    return found


def errors(photograph: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Mean distance of the landmarks within the face, in per cent of the outer-eye distance; NaN: no face detected."""
    right, left = OUTER_EYES
    eyes = np.linalg.norm(expected[left] - expected[right])
    answers = {
        "crop given": Reconstructor.packaged()([photograph], [expected]).landmarks[0],
        "nothing given": PackagedDetector()("", photograph),
    }
    return {
        name: np.nan if one is None else float(100 * np.linalg.norm(one - expected, axis=1)[_WITHIN].mean() / eyes)
        for name, one in answers.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="photographs, each with NAME.pts beside it")
    table = pd.DataFrame({name: errors(*one) for name, one in photographs(parser.parse_args().folder).items()}).T
    if len(table) > 1:
        table.loc["mean"], table.loc["median"] = table.mean(), table.median()
    print(table.to_markdown(floatfmt=".1f"))


if __name__ == "__main__":
    main()
