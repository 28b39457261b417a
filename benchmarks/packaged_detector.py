"""How many faces the packaged detector finds, and how near its landmarks are, by how far the head is turned.

`python benchmarks/packaged_detector.py` after a `make repro` prints the table of docs/start.md; two minutes. `--folder`
takes AFLW2000-3D itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from mfnet.data.aflw2000 import BINS, AflwItem, load_aflw2000
from mfnet.evaluation.protocol.aflw2000 import read_photograph
from mfnet.reconstruct.packaged_detector import PackagedDetector

_WITHIN = slice(17, 68)
# Landmarks further off than this, per cent of the box, are those of another place in the photograph.
_ASTRAY = 15.0


def error(detector: PackagedDetector, item: AflwItem) -> float:
    """Mean distance of the landmarks within the face in per cent of the box's side; NaN where no face is found."""
    landmarks, expected = detector("", read_photograph(item)), item.landmarks[:, :2]
    if landmarks is None:
        return np.nan
    side = np.sqrt(np.prod(np.ptp(expected, axis=0)))
    return float(100 * np.linalg.norm(landmarks - expected, axis=1)[_WITHIN].mean() / side)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("data/raw/aflw2000"))
    items, detector = load_aflw2000(parser.parse_args().folder), PackagedDetector()
    errors = pd.Series([error(detector, item) for item in items])
    rows = {}
    for name in BINS:
        of_bin = errors[[item.bin == name for item in items]]
        near = of_bin[of_bin < _ASTRAY]
        rows[name] = {
            "photographs": len(of_bin), "nobody found, %": 100 * of_bin.isna().mean(),
            "astray, %": 100 * (of_bin >= _ASTRAY).mean(), "landmarks, % of the box": near.mean(),
        }  # fmt: skip
    print(pd.DataFrame(rows).T.rename_axis("degrees").to_markdown(floatfmt=".1f"))


if __name__ == "__main__":
    main()
