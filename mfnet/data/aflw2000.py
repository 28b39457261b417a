"""AFLW2000-3D's files: photographs, the 68 landmarks of a head fitted to each, and how far it is turned.

Layout: `image00002.jpg` beside `image00002.mat`, all in one folder.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io

from mfnet.errors import UserError

BINS = ("0-30", "30-60", "60-90")
IMAGE_SIZE = 450
# Matlab counts pixels from 1 and means their centres; here 0 is the image's edge.
TO_MATLAB = 0.5
_PATTERN = "image0*.jpg"
_LANDMARKS, _POSE = "pt3d_68", "Pose_Para"
_UPPER_EDGES = (30.0, 60.0)
# What scipy raises for files that are damaged, by where.
_UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError, NotImplementedError, zlib.error,
    struct.error, scipy.io.matlab.MatReadError,
)  # fmt: skip


class AflwItem(NamedTuple):
    """One photograph.

    landmarks: [68, 3] pixels, x right, y down, 0 at the image's edge, z in the same unit towards the camera from
        wherever; the contour is that of the jaw, also where the face hides it.
    yaw: degrees; + is the nose to image right.
    """

    stem: str
    image: Path
    landmarks: np.ndarray
    yaw: float

    @property
    def bin(self) -> str:
        """The third of the benchmark that it counts in, by 3DDFA's edges: up to 30 degrees, up to 60, above."""
        return BINS[int(np.searchsorted(_UPPER_EDGES, abs(self.yaw)))]


def load_aflw2000(root: Path) -> list[AflwItem]:
    """Read every photograph's annotation.

    Raises:
        UserError: there is no photograph, one has no annotation, or an annotation lacks its landmarks or its pose.
    """
    images = sorted(root.glob(_PATTERN))
    if not images:
        raise UserError(f"no {_PATTERN} in {root}; expected AFLW2000-3D's unpacked folder")
    return [_item(image) for image in images]


def _item(image: Path) -> AflwItem:
    path = image.with_suffix(".mat")
    if not path.is_file():
        raise UserError(f"{path} is missing; expected an annotation beside every photograph")
    try:
        content = scipy.io.loadmat(path, variable_names=[_LANDMARKS, _POSE])
    except _UNREADABLE as error:
        raise UserError(f"{path} is not a readable .mat file ({error})") from error
    landmarks = _numbers(content, _LANDMARKS, path, (3, 68)).T - [TO_MATLAB, TO_MATLAB, 0]
    # Pitch, yaw and roll, in radians, of matrices transposed to the usual ones: its yaw turns the nose to image left.
    yaw = -float(np.degrees(_numbers(content, _POSE, path, (1, 7))[0, 1]))
    return AflwItem(image.stem, image, landmarks, yaw)


def _numbers(content: dict[str, Any], name: str, path: Path, shape: tuple[int, int]) -> np.ndarray:
    values = np.asarray(content.get(name, ()))
    if values.shape != shape:
        raise UserError(f"{path}: {name} has shape {values.shape}, expected {shape}")
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise UserError(f"{path}: {name} holds what is not a finite number")
    return values.astype(np.float64)
