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
from mfnet.parallel import progress
from mfnet.reconstruct import Reconstructor


class Job(NamedTuple):
    """One prediction to make and score: the scored item's image comes first among the inputs.

    intrinsics: K [3, 3] of each image in the lab; none in the wild, where the benchmark has orthographic cameras.
    """

    setting: str
    item: WildItem | LabItem
    images: tuple[Path, ...]
    intrinsics: tuple[np.ndarray, ...] = ()


class Method(Protocol):
    """Anything that places a head in a photograph."""

    faces: np.ndarray

    def __call__(self, jobs: Sequence[Job]) -> list[np.ndarray | None]:
        """Vertices [V, 3] as the benchmark takes them (see `submitted`) for each job; None where no face is found."""
        ...


class Given:
    """Predictions that have been made already, one for each of the jobs to come."""

    def __init__(self, faces: np.ndarray, predictions: Sequence[np.ndarray | None]) -> None:
        self.faces, self._predictions = faces, list(predictions)

    def __call__(self, jobs: Sequence[Job]) -> list[np.ndarray | None]:
        """See Method."""
        assert len(jobs) == len(self._predictions)
        return self._predictions


class Photographs:
    """Reads benchmark images and their landmarks, by path."""

    def __init__(self, root: Path, detector: LandmarkDetector) -> None:
        self._root, self._detector = root, detector
        self._landmarks: dict[Path, np.ndarray | None] = {}

    def __call__(self, path: Path) -> tuple[np.ndarray, np.ndarray] | None:
        """RGB uint8 [256, 256, 3] and landmarks [68, 2]; None where no face is found."""
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

    def __call__(self, jobs: Sequence[Job]) -> list[np.ndarray | None]:
        """See Method; a side view without a face is left out of its triple."""
        predicted: dict[int, np.ndarray] = {}
        inputs = [self._inputs(job) for job in jobs]
        kinds = [(job.setting == "wild", len(views)) for job, views in zip(jobs, inputs, strict=True)]
        for kind in sorted({kind for kind in kinds if kind[1]}):
            group = [index for index in range(len(jobs)) if kinds[index] == kind]
            for start in progress(range(0, len(group), self._params.batch), f"predict, {kind[1]} view(s)"):
                chosen = group[start : start + self._params.batch]
                made = self._predict([jobs[k].item for k in chosen], [inputs[k] for k in chosen])
                predicted |= dict(zip(chosen, made, strict=True))
        return [predicted.get(index) for index in range(len(jobs))]

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
        return [perspective_mesh(one, self._params.lab_distance) for one in metres]


class MeanHeadMethod:
    """The mean head over jobs; sees only the scored photograph's landmarks."""

    def __init__(self, fit: MeanHeadFit, photographs: Photographs, crop_scale: float, submit: str = "head") -> None:
        self._part = Part.of(fit.head, submit)
        self.faces = self._part.faces
        self._fit, self._photographs, self._scale = fit, photographs, crop_scale

    def __call__(self, jobs: Sequence[Job]) -> list[np.ndarray | None]:
        """See Method."""
        return [self._place(job) for job in progress(jobs, "mean head")]

    def _place(self, job: Job) -> np.ndarray | None:
        photograph = self._photographs(job.images[0])
        if photograph is None:
            return None
        landmarks = photograph[1]
        crop = crop_around(landmarks, self._scale)
        normalised = (landmarks - [crop.centre_x, crop.centre_y]) * (2 / crop.side)
        return submitted(job.item, image_cube(self._fit.fit(normalised)[self._part.vertices], crop))
