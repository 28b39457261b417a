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
from mfnet.reconstruct import Reconstructor

NO_FACE = "no face found in the photograph"


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
        """See Method; a side view without a face is left out of its triple."""
        predicted: dict[int, Submission] = {}
        inputs: list[list[tuple[Path, np.ndarray | None]]] = []
        for index, job in enumerate(jobs):
            try:
                inputs.append(self._inputs(job))
            except UserError as error:
                predicted[index] = str(error)
                inputs.append([])
        kinds = [(job.setting == "wild", len(views)) for job, views in zip(jobs, inputs, strict=True)]
        for kind in sorted({kind for kind in kinds if kind[1]}):
            group = [index for index in range(len(jobs)) if kinds[index] == kind]
            for start in range(0, len(group), self._params.batch):
                chosen = group[start : start + self._params.batch]
                made = self._predict([jobs[k].item for k in chosen], [inputs[k] for k in chosen])
                predicted |= dict(zip(chosen, made, strict=True))
        return [predicted.get(index, NO_FACE) for index in range(len(jobs))]

    def _inputs(self, job: Job) -> list[tuple[Path, np.ndarray | None]]:
        views = zip(job.images, job.intrinsics or [None] * len(job.images), strict=True)
        found = [(path, K) for path, K in views if self._photographs(path) is not None]
        return found if found and found[0][0] == job.images[0] else []

    def _predict(
        self, items: list[WildItem | LabItem], inputs: list[list[tuple[Path, np.ndarray | None]]]
    ) -> list[np.ndarray]:
        people = []
        for views in inputs:
            seen = [(self._photographs(path), K) for path, K in views]
            people.append([self._reconstructor.square(*found, K) for found, K in seen if found is not None])
        parameters, lens = self._reconstructor.predict(people)
        n_views = parameters.rotation.shape[1]
        scored = torch.arange(len(inputs), device=parameters.shape.device) * n_views
        with torch.no_grad():
            decoded = decode(self._reconstructor.flame, parameters, scored, lens)
        projected = decoded.projected[:, self._part.vertices]
        if lens is None:
            cubes = [image_cube(one.cpu().numpy(), views[0].crop) for one, views in zip(projected, people, strict=True)]
            return [submitted(item, cube) for item, cube in zip(items, cubes, strict=True)]
        metres = lens.of(scored).unproject(projected, decoded.camera[:, :1]).cpu().numpy()
        return [perspective_mesh(one) for one in metres]


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
