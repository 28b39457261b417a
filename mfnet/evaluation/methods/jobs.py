"""What a method is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from mfnet.data.crop import read_image
from mfnet.data.facescape import LabItem, WildItem
from mfnet.data.landmarks import LandmarkDetector
from mfnet.errors import UserError

NO_FACE = "no face found in a photograph of it"


class Job(NamedTuple):
    """One prediction to make and score: the scored item's image comes first among the inputs.

    intrinsics: K [3, 3] of each image in the lab; none in the wild, where the benchmark has orthographic cameras.
    """

    setting: str
    item: WildItem | LabItem
    images: tuple[Path, ...]
    intrinsics: tuple[np.ndarray, ...] = ()


class Placed(NamedTuple):
    """A head where a method sees it.

    vertices: [V, 3] in the frame in which the benchmark takes predictions, in the lab by its loaders' rule.
    own_size: [V, 3] in the lab, at the size and distance that the method itself says; None where it says none.
    """

    vertices: np.ndarray
    own_size: np.ndarray | None = None


# A head, or in one line why there is none.
Submission = Placed | str


class Method(Protocol):
    """Anything that places a head with the triangles `faces` [F, 3] in a photograph."""

    faces: np.ndarray

    def __call__(self, jobs: Sequence[Job]) -> list[Submission]:
        """One for each job."""
        ...


class Given:
    """Predictions that have been made already, to be judged as they are."""

    def __init__(self, faces: np.ndarray, jobs: Sequence[Job], predictions: Sequence[np.ndarray | str]) -> None:
        self.faces = faces
        self._predictions = dict(zip(map(_key, jobs), predictions, strict=True))

    def __call__(self, jobs: Sequence[Job]) -> list[Submission]:
        """See Method."""
        predictions = [self._predictions[_key(job)] for job in jobs]
        return [one if isinstance(one, str) else Placed(one) for one in predictions]


def _key(job: Job) -> tuple[str, str]:
    return job.setting, job.item.stem


class Photographs:
    """Reads benchmark images and their landmarks, by path."""

    def __init__(self, root: Path, detector: LandmarkDetector) -> None:
        self._root, self._detector = root, detector
        self._landmarks: dict[Path, np.ndarray | None] = {}

    def __call__(self, path: Path) -> tuple[np.ndarray, np.ndarray] | None:
        """RGB uint8 [256, 256, 3] and landmarks [68, 2]; None where no face is found.

        Raises:
            UserError: there is no photograph, or it cannot be read.
        """
        image = read_image(path)
        if image is None:
            raise UserError(f"evaluate: {path} is missing or not a readable image; expected 256 x 256 RGB")
        if path not in self._landmarks:
            self._landmarks[path] = self._detector(str(path.relative_to(self._root)), image)
        landmarks = self._landmarks[path]
        return None if landmarks is None else (image, landmarks)
