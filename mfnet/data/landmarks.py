"""The 68 landmarks of a photograph: detected, or read from a side file in the data set's folder."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from mfnet.errors import UserError

SIDECAR, EXACT_SIDECAR = "landmarks.parquet", "landmarks_exact.parquet"
N_LANDMARKS = 68
# Column i of a mirrored photograph's landmark i is landmark MIRROR[i] of the original.
MIRROR = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38,
     37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip
OUTER_EYES = (36, 45)
# How far a detector is off at each landmark, as shares of its root mean square over all: contour 3.5, brows 2.6, bridge
# of the nose 1.35, its base 1.1, mouth 1.2 times the eyes, after the uncertainties that LUVLi (Kumar et al., CVPR 2020)
# predicts on Multi-PIE.
_OF_PARTS = np.repeat([3.5, 2.6, 1.35, 1.1, 1.0, 1.2], [17, 10, 4, 5, 12, 20])
LANDMARK_SPREAD = _OF_PARTS / np.sqrt((_OF_PARTS**2).mean())


class LandmarkDetector(Protocol):
    """Finds the landmarks of one face.

    one_process: whether it brings threads and a device of its own, so that several processes would be in its way; one
    that does not can be pickled.
    """

    one_process: bool

    def __call__(self, relative_path: str, image: np.ndarray) -> np.ndarray | None:
        """[68, 2] pixels of an RGB uint8 image [H, W, 3], 0 at the image's edge; None where there is no face."""
        ...


class Sidecar:
    """Landmarks from `landmarks.parquet` in the data set's root: columns `path` and `landmarks` (136 numbers)."""

    one_process = False

    def __init__(self, root: Path, name: str = SIDECAR) -> None:
        path = root / name
        if not path.is_file():
            raise UserError(f"sidecar needs {path}, which is missing; expected that file, or face_alignment")
        table = pd.read_parquet(path)
        self._points = dict(zip(table["path"], table["landmarks"], strict=True))

    def __call__(self, relative_path: str, image: np.ndarray) -> np.ndarray | None:
        """See LandmarkDetector."""
        points = self._points.get(relative_path)
        return None if points is None else np.asarray(points, np.float32).reshape(N_LANDMARKS, 2)


class FaceAlignment:
    """The face-alignment package's 2-D detector; of several faces the one of the highest score."""

    one_process = True

    def __init__(self) -> None:
        import face_alignment  # noqa: PLC0415  slow to import, and needed by nobody with a side file
        import torch  # noqa: PLC0415

        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self._detector = face_alignment.FaceAlignment(
                face_alignment.LandmarksType.TWO_D, device=device, compile=False
            )
        except OSError as error:
            raise UserError(
                "face_alignment's weights could not be loaded; put them into torch's "
                f"hub/checkpoints folder or connect to the network ({' '.join(str(error).split())})"
            ) from error

    def __call__(self, relative_path: str, image: np.ndarray) -> np.ndarray | None:
        """See LandmarkDetector."""
        faces = self._detector.get_landmarks_from_image(image)
        return None if not faces else np.asarray(faces[0], np.float32)


@lru_cache(maxsize=4)
def landmark_detector(name: str, root: Path) -> LandmarkDetector:
    """The detector of a name, sidecar or face_alignment, for the data set at root; made once a process."""
    return Sidecar(root) if name == "sidecar" else FaceAlignment()


@lru_cache(maxsize=4)
def exact_landmarks(root: Path) -> Sidecar | None:
    """Where landmarks truly are, for data sets that know it: generated ones, in `landmarks_exact.parquet`."""
    return Sidecar(root, EXACT_SIDECAR) if (root / EXACT_SIDECAR).is_file() else None


def write_sidecar(root: Path, landmarks: dict[str, np.ndarray], name: str = SIDECAR) -> None:
    """Write a side file that Sidecar reads: path relative to root -> [68, 2] pixels."""
    paths = sorted(landmarks)
    flat = [landmarks[path].astype(np.float32).ravel() for path in paths]
    pd.DataFrame({"path": paths, "landmarks": flat}).to_parquet(root / name)
