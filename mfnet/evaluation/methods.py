"""Methods to be judged: where each places a head in the benchmark's photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from mfnet.config import EvaluateParams
from mfnet.data.crop import crop_around, read_image
from mfnet.data.facescape import LabItem, WildItem
from mfnet.data.landmarks import LandmarkDetector
from mfnet.errors import UserError
from mfnet.evaluation.submission import Part, image_cube, perspective_mesh, submitted
from mfnet.landmark_fit import MeanHeadFit
from mfnet.network import decode
from mfnet.reconstruct import Reconstructor, Square

NO_FACE = "no face found in a photograph of it"


class Job(NamedTuple):
    """One prediction to make and score: the scored item's image comes first among the inputs.

    intrinsics: K [3, 3] of each image in the lab; none in the wild, where the benchmark has orthographic cameras.
    """

    setting: str
    item: WildItem | LabItem
    images: tuple[Path, ...]
    intrinsics: tuple[np.ndarray, ...] = ()


# Vertices [V, 3] as the benchmark takes them (see `submitted`), or in one line why there are none.
Submission = np.ndarray | str


class Method(Protocol):
    """Anything that places a head in a photograph.

    faces [F, 3]; own_size: whether its heads in the lab have a size of their own, and with it a distance.
    """

    faces: np.ndarray
    own_size: bool

    def __call__(self, jobs: Sequence[Job]) -> list[Submission]:
        """One for each job."""
        ...


class Given:
    """Predictions that have been made already, to be judged as they are."""

    own_size = False

    def __init__(self, faces: np.ndarray, jobs: Sequence[Job], predictions: Sequence[Submission]) -> None:
        self.faces = faces
        self._predictions = dict(zip(map(_key, jobs), predictions, strict=True))

    def __call__(self, jobs: Sequence[Job]) -> list[Submission]:
        """See Method."""
        return [self._predictions[_key(job)] for job in jobs]


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


class ParametricMethod:
    """MFNet, refined or not, or the landmark fit, over jobs in batches of equally many views."""

    def __init__(self, reconstructor: Reconstructor, photographs: Photographs, params: EvaluateParams) -> None:
        self._part = Part.of(reconstructor.head, params.submit)
        self.faces = self._part.faces
        self._reconstructor, self._photographs, self._params = reconstructor, photographs, params
        self.own_size = reconstructor.in_perspective

    def __call__(self, jobs: Sequence[Job]) -> list[Submission]:
        """See Method; of three views every one has to show a face."""
        found = [squares_of(self._reconstructor, self._photographs, job) for job in jobs]
        made: dict[int, Submission] = {index: why for index, why in enumerate(found) if isinstance(why, str)}
        people = {index: squares for index, squares in enumerate(found) if not isinstance(squares, str)}
        kinds = {index: (jobs[index].setting == "wild", len(squares)) for index, squares in people.items()}
        for kind in sorted(set(kinds.values())):
            group = [index for index in people if kinds[index] == kind]
            for start in range(0, len(group), self._params.batch):
                chosen = group[start : start + self._params.batch]
                together = self._predict([jobs[k].item for k in chosen], [people[k] for k in chosen])
                made |= dict(zip(chosen, together, strict=True))
        return [made[index] for index in range(len(jobs))]

    def _predict(self, items: list[WildItem | LabItem], people: list[list[Square]]) -> list[np.ndarray]:
        parameters, lens = self._reconstructor.predict(people)
        n_views = parameters.rotation.shape[1]
        scored = torch.arange(len(people), device=parameters.shape.device) * n_views
        with torch.no_grad():
            decoded = decode(self._reconstructor.flame, parameters, scored, lens)
        projected = decoded.projected[:, self._part.vertices]
        if lens is None:
            cubes = [image_cube(one.cpu().numpy(), views[0].crop) for one, views in zip(projected, people, strict=True)]
            return [submitted(item, cube) for item, cube in zip(items, cubes, strict=True)]
        metres = lens.of(scored).unproject(projected, decoded.camera[:, :1]).cpu().numpy()
        return [perspective_mesh(one) for one in metres]


def squares_of(reconstructor: Reconstructor, photographs: Photographs, job: Job) -> list[Square] | str:
    """Crops of a job's photographs, the scored one's first; or in one line why there are none."""
    try:
        seen = [photographs(path) for path in job.images]
    except UserError as error:
        return str(error)
    pinholes = job.intrinsics or [None] * len(job.images)
    squares = [reconstructor.square(*one, K) for one, K in zip(seen, pinholes, strict=True) if one is not None]
    return squares if len(squares) == len(seen) else NO_FACE


class MeanHeadMethod:
    """The mean head over jobs; sees only the scored photograph's landmarks."""

    own_size = False

    def __init__(self, fit: MeanHeadFit, photographs: Photographs, crop_scale: float, submit: str = "head") -> None:
        self._part = Part.of(fit.head, submit)
        self.faces = self._part.faces
        self._fit, self._photographs, self._scale = fit, photographs, crop_scale

    def __call__(self, jobs: Sequence[Job]) -> list[Submission]:
        """See Method."""
        return [self._place(job) for job in jobs]

    def _place(self, job: Job) -> Submission:
        try:
            photograph = self._photographs(job.images[0])
        except UserError as error:
            return str(error)
        if photograph is None:
            return NO_FACE
        landmarks = photograph[1]
        crop = crop_around(landmarks, self._scale)
        normalised = (landmarks - [crop.centre_x, crop.centre_y]) * (2 / crop.side)
        return submitted(job.item, image_cube(self._fit.fit(normalised)[self._part.vertices], crop))
