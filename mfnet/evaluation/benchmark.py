"""Runs a method over the FaceScape benchmark: predictions, scores per image, means per pose bin."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch

from mfnet.data.crop import crop_around, read_image
from mfnet.data.facescape import BINS, LAB_FOCALS, Benchmark, LabItem, WildItem, read_obj
from mfnet.data.landmarks import LandmarkDetector
from mfnet.errors import UserError
from mfnet.evaluation.facescape import Mesh, Score, align_lab, align_wild, score_lab, score_wild
from mfnet.evaluation.heat import HeatMesh, surface_error
from mfnet.evaluation.submission import image_cube, lab_mesh, wild_mesh
from mfnet.landmark_fit import MeanHeadFit
from mfnet.network import decode
from mfnet.parallel import parallel_map, progress
from mfnet.reconstruct import Reconstructor

# The three views of a person: the front and thirty degrees to either side. A scored view takes the place of the
# one whose yaw is nearest to its own.
_TRIPLE = (0, 1, 8)
_LAB_YAW = (0, 30, 21.5, -21.5, 0, 0, 21.5, -21.5, -30, 60, -60)
METRICS = ("cd_mm", "mne_rad", "completeness")


class Job(NamedTuple):
    """One prediction to make and score: the scored item's image comes first among the inputs."""

    setting: str
    item: WildItem | LabItem
    images: tuple[Path, ...]


class Method(Protocol):
    """Anything that places a head in a photograph."""

    faces: np.ndarray

    def __call__(self, jobs: Sequence[Job]) -> list[np.ndarray | None]:
        """Vertices [V, 3] in the image cube of each job's scored photograph; None where it shows no face."""
        ...


def triple_views(view: int) -> tuple[int, int, int]:
    """The scored view and the two that complete front, left and right."""
    replaced = min(_TRIPLE, key=lambda other: abs(_LAB_YAW[other] - _LAB_YAW[view]))
    return (view, *(other for other in _TRIPLE if other != replaced))  # type: ignore[return-value]


def plan(benchmark: Benchmark, lab_views: Sequence[int], three_view: bool = True) -> list[Job]:
    """Every item to be scored: wild from its one image, lab from one view and from three."""
    jobs = [Job("wild", item, (item.image,)) for item in benchmark.wild()]
    items = {(item.subject, item.focal, item.view): item for item in benchmark.lab()}
    lab = [item for item in items.values() if item.view in set(lab_views)]
    if three_view:
        for item in lab:
            images = tuple(items[item.subject, item.focal, view].image for view in triple_views(item.view))
            jobs.append(Job("three_view", item, images))
    return jobs + [Job("single_view", item, (item.image,)) for item in lab]


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
    """MFNet, or the landmark fit, over jobs in batches of equally many views."""

    def __init__(self, reconstructor: Reconstructor, photographs: Photographs, batch: int) -> None:
        self.faces = reconstructor.head.faces
        self._reconstructor, self._photographs, self._batch = reconstructor, photographs, batch

    def __call__(self, jobs: Sequence[Job]) -> list[np.ndarray | None]:
        """See Method; a side view without a face is left out of its triple."""
        predicted: dict[int, np.ndarray] = {}
        inputs = [self._inputs(job) for job in jobs]
        for count in sorted({len(paths) for paths in inputs if paths}):
            group = [index for index, paths in enumerate(inputs) if len(paths) == count]
            for start in progress(range(0, len(group), self._batch), f"predict, {count} view(s)"):
                chosen = group[start : start + self._batch]
                predicted |= dict(zip(chosen, self._predict([inputs[k] for k in chosen]), strict=True))
        return [predicted.get(index) for index in range(len(jobs))]

    def _inputs(self, job: Job) -> list[Path]:
        found = [path for path in job.images if self._photographs(path) is not None]
        return found if found[:1] == [job.images[0]] else []

    def _predict(self, inputs: list[list[Path]]) -> list[np.ndarray]:
        people = []
        for paths in inputs:
            seen = [self._photographs(path) for path in paths]
            people.append([self._reconstructor.square(*photograph) for photograph in seen if photograph is not None])
        parameters = self._reconstructor.predict(people)
        n_views = parameters.rotation.shape[1]
        scored = torch.arange(len(inputs), device=parameters.shape.device) * n_views
        with torch.no_grad():
            projected = decode(self._reconstructor.flame, parameters, scored).projected.cpu().numpy()
        return [image_cube(vertices, views[0].crop) for vertices, views in zip(projected, people, strict=True)]


class MeanHeadMethod:
    """The mean head over jobs; sees only the scored photograph's landmarks."""

    def __init__(self, fit: MeanHeadFit, photographs: Photographs, crop_scale: float) -> None:
        self.faces = fit.head.faces
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
        return image_cube(self._fit.fit(normalised), crop)


@lru_cache(maxsize=4)
def _truth(path: Path) -> Mesh:
    return Mesh(*read_obj(path))


def _submitted(item: WildItem | LabItem, cube: np.ndarray, faces: np.ndarray) -> Mesh:
    return Mesh(wild_mesh(cube) if isinstance(item, WildItem) else lab_mesh(cube, item.focal), faces)


def _score(task: tuple[Job, np.ndarray | None], faces: np.ndarray) -> Score:
    job, cube = task
    if cube is None:
        return Score(math.nan, math.nan, math.nan)
    item, prediction = job.item, _submitted(job.item, cube, faces)
    if isinstance(item, WildItem):
        return score_wild(_truth(item.mesh), prediction, item.pupil_scale, item.rotation, item.head_center)
    return score_lab(_truth(item.mesh), prediction, item.K, item.Rt, item.rotation, item.head_center)


def run(method: Method, jobs: list[Job], workers: int | None) -> tuple[pd.DataFrame, list[np.ndarray | None]]:
    """Predict and score every job.

    Returns:
        One row per job (setting, index, stem, person, bin, focal, view and the metrics, NaN where an item failed),
        and the predicted vertices in the image cube.
    """
    cubes = method(jobs)
    tasks = list(zip(jobs, cubes, strict=True))
    scores = parallel_map(partial(_score, faces=method.faces), tasks, "score", workers)
    rows = []
    for job, score in zip(jobs, scores, strict=True):
        item = job.item
        lab = isinstance(item, LabItem)
        place = {"focal": LAB_FOCALS[item.focal], "view": item.view} if lab else {"bin": item.bin}  # type: ignore[union-attr]
        named = {"index": item.index, "stem": item.stem, "person": item.mesh.stem}
        rows.append({"setting": job.setting, **named, **place, **score._asdict()})
    columns = ["setting", "index", "stem", "person", "bin", "focal", "view", *METRICS]
    return pd.DataFrame(rows).reindex(columns=columns), cubes


def summarise(per_image: pd.DataFrame) -> dict:
    """Means over the items that did not fail: `wild` per bin, `lab` per number of views; null where none is left."""

    def means(rows: pd.DataFrame) -> dict:
        values = {name: float(rows[name].mean()) for name in METRICS}
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        return {**finite, "n": len(rows), "done_rate": float(rows["cd_mm"].notna().mean()) if len(rows) else 0.0}

    wild, lab = per_image[per_image["setting"] == "wild"], per_image[per_image["setting"] != "wild"]
    return {
        "wild": {name: means(wild[wild["bin"] == name]) for name in BINS},
        "lab": {name: means(rows) for name, rows in lab.groupby("setting", sort=True)},
    }


def heat_mesh(job: Job, cube: np.ndarray | None, faces: np.ndarray) -> HeatMesh | None:
    """Error of a scored prediction over its surface; None where there is none or it could not be aligned."""
    if cube is None:
        return None
    item, truth, prediction = job.item, _truth(job.item.mesh), _submitted(job.item, cube, faces)
    if isinstance(item, WildItem):
        aligned = align_wild(truth, prediction, item.pupil_scale, item.rotation, item.head_center)
    else:
        found = align_lab(truth, prediction, item.K, item.Rt, item.rotation, item.head_center)
        if found is None:
            return None
        aligned = found
    return HeatMesh(aligned.prediction, surface_error(aligned.prediction, aligned.truth))


def evenly_spaced(jobs: list[Job], wanted: Callable[[Job], bool], count: int) -> list[int]:
    """Positions of `count` jobs spread evenly over those that are wanted."""
    among = [index for index, job in enumerate(jobs) if wanted(job)]
    return [among[k] for k in np.unique(np.linspace(0, len(among) - 1, min(count, len(among))).astype(int))]
