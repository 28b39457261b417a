"""How far the packaged network's landmarks are from another detector's on a photograph of a real person.

`python benchmarks/real_photograph.py` prints the figures of docs/start.md; seconds.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import skimage

from mfnet.data.landmarks import OUTER_EYES
from mfnet.reconstruct import Reconstructor
from mfnet.reconstruct.packaged_detector import PackagedDetector

_WITHIN = slice(17, 68)


def main() -> None:
    """Print the mean distance of the landmarks within the face, in per cent of the outer-eye distance."""
    photograph = skimage.data.astronaut()
    expected = np.array(json.loads(Path("tests/astronaut_landmarks.json").read_text())["landmarks"])
    right, left = OUTER_EYES
    eyes = np.linalg.norm(expected[left] - expected[right])
    by_network = Reconstructor.packaged()([photograph], [expected]).landmarks[0]
    by_detector = PackagedDetector()("", photograph)
    assert by_detector is not None
    for name, landmarks in (("crop given", by_network), ("nothing given", by_detector)):
        off = np.linalg.norm(landmarks - expected, axis=1)[_WITHIN].mean()
        print(f"{name}: {100 * off / eyes:.1f} %")


if __name__ == "__main__":
    main()
