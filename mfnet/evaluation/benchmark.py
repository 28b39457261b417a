"""Runs a method over the FaceScape benchmark: predictions, scores per image, means per pose bin."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mfnet.data.facescape import BINS, LAB_FOCALS, Benchmark, LabItem, WildItem, read_obj
from mfnet.errors import UserError
from mfnet.evaluation.facescape import Mesh, Score, align_lab, align_wild, score_lab, score_wild
from mfnet.evaluation.heat import HeatMesh, surface_error
from mfnet.evaluation.methods import Job, Method
from mfnet.parallel import parallel_map, parallel_stream

# The three views of a person: the front and thirty degrees to either side. A scored view takes the place of the
# one whose yaw is nearest to its own.
_TRIPLE = (0, 1, 8)
_LAB_YAW = (0, 30, 21.5, -21.5, 0, 0, 21.5, -21.5, -30, 60, -60)
METRICS = ("cd_mm", "mne_rad", "completeness")


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
            views = [items[item.subject, item.focal, view] for view in triple_views(item.view)]
            jobs.append(Job("three_view", item, tuple(view.image for view in views), tuple(view.K for view in views)))
    return jobs + [Job("single_view", item, (item.image,), (item.K,)) for item in lab]


@lru_cache(maxsize=4)
def _truth(path: Path) -> Mesh:
    return Mesh(*read_obj(path))


class Verdict(NamedTuple):
    """An item's score, and why it has none: "" where it has."""

    score: Score
    failure: str


def _judge(task: tuple[Job, np.ndarray | None], faces: np.ndarray, strict: bool) -> Verdict:
    job, vertices = task
    if vertices is None:
        return Verdict(Score(math.nan, math.nan, math.nan), "no face found in the photograph")
    item, prediction = job.item, Mesh(vertices, faces)
    if isinstance(item, WildItem):
        score = score_wild(_truth(item.mesh), prediction, item.pupil_scale, item.rotation, item.head_center, strict)
    else:
        score = score_lab(_truth(item.mesh), prediction, item.K, item.Rt, item.rotation, item.head_center, strict)
    # Section 9 of the protocol: here the official evaluator stops.
    failure = "prediction and scan share no surface, or it leaves the cylinder map" if math.isnan(score.cd_mm) else ""
    return Verdict(score, failure)


def run(
    method: Method, jobs: list[Job], workers: int | None, unfinished: Path | None = None, strict: bool = False
) -> tuple[pd.DataFrame, list[np.ndarray | None]]:
    """Predict and score every job.

    Args:
        method: to be judged.
        jobs: from `plan`.
        workers: processes that score; None is one per core.
        unfinished: a file of scores that an interrupted run has left, and this one would leave. A score counts for
            the same prediction of the same item only.
        strict: without the benchmark's oddities; see `mfnet.evaluation.facescape`.

    Returns:
        One row per job (setting, index, stem, person, bin, focal, view, angle in degrees, the metrics, NaN where an
        item failed, and `failure`, why), and the predicted vertices.
    """
    predictions = method(jobs)
    tasks = list(zip(jobs, predictions, strict=True))
    rows = []
    for job, verdict in zip(jobs, _verdicts(tasks, method.faces, strict, workers, unfinished), strict=True):
        item = job.item
        lab = isinstance(item, LabItem)
        place = {"focal": LAB_FOCALS[item.focal], "view": item.view} if lab else {"bin": item.bin}  # type: ignore[union-attr]
        named = {"index": item.index, "stem": item.stem, "person": item.mesh.stem, "angle": item.angle}
        result = {**verdict.score._asdict(), "failure": verdict.failure}
        rows.append({"setting": job.setting, **named, **place, **result})
    columns = ["setting", "index", "stem", "person", "bin", "focal", "view", "angle", *METRICS, "failure"]
    return pd.DataFrame(rows).reindex(columns=columns), predictions


def _verdicts(
    tasks: list[tuple[Job, np.ndarray | None]], faces: np.ndarray, strict: bool, workers: int | None,
    unfinished: Path | None,
) -> list[Verdict]:  # fmt: skip
    judge = partial(_judge, faces=faces, strict=strict)
    if unfinished is None:
        return parallel_map(judge, tasks, "score", workers)
    digests = [_digest(*task, strict) for task in tasks]
    lines = unfinished.read_text().splitlines() if unfinished.is_file() else []
    known = {digest: Verdict(Score(*score), failure) for digest, score, failure in map(json.loads, lines)}
    left = [task for task, digest in zip(tasks, digests, strict=True) if digest not in known]
    new = iter([digest for digest in digests if digest not in known])
    with unfinished.open("a") as stream:
        for digest, verdict in zip(new, parallel_stream(judge, left, "score", workers), strict=True):
            known[digest] = verdict
            stream.write(json.dumps([digest, verdict.score, verdict.failure]) + "\n")
            stream.flush()
    return [known[digest] for digest in digests]


def _digest(job: Job, vertices: np.ndarray | None, strict: bool) -> str:
    scan = job.item.mesh
    content = b"" if vertices is None else np.ascontiguousarray(vertices).tobytes()
    named = f"{job.setting} {job.item.stem} {scan} {scan.stat().st_mtime_ns} {strict} "
    return hashlib.blake2b(named.encode() + content, digest_size=12).hexdigest()


def load_scores(folder: Path, trainings: Mapping[str, Sequence[str]]) -> dict[str, list[pd.DataFrame]]:
    """Read what `run` gave, as stored in `<folder>/<name>.csv`.

    Args:
        folder: of the tables.
        trainings: method -> the names of its trainings; its own where it is not trained.

    Returns:
        Method -> a table per training, for the methods that have any.

    Raises:
        UserError: there is none at all, or a method lacks that of one of its trainings.
    """
    found: dict[str, list[pd.DataFrame]] = {}
    for method, names in trainings.items():
        paths = [folder / f"{name}.csv" for name in names]
        missing = [path for path in paths if not path.is_file()]
        if missing and len(missing) < len(paths):
            raise UserError(f"report: {missing[0]} is missing; run its evaluate stage, or leave out its seed")
        if not missing:
            found[method] = [pd.read_csv(path) for path in paths]
    if not found:
        raise UserError(f"report: no scores in {folder}; run the evaluate stage")
    return found


def averaged(trainings: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Scores of every item as the mean over a method's trainings, in the first one's rows; NaN where one has failed.

    Raises:
        UserError: the tables are not of the same items.
    """
    key = ["setting", "stem"]
    tables = [table.set_index(key) for table in trainings]
    if any(not table.index.equals(tables[0].index) for table in tables):
        raise UserError("report: a method's trainings were scored on different items; run its evaluate stages again")
    means = pd.DataFrame(np.mean([table[[*METRICS]].to_numpy(float) for table in tables], 0), columns=[*METRICS])
    # As read from a file, no failure is an empty cell, and a column of them has no text at all.
    failures = [["" if pd.isna(cell) else str(cell) for cell in table["failure"]] for table in trainings]
    return trainings[0].assign(**means, failure=[next(filter(None, of), "") for of in zip(*failures, strict=True)])


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


def heat_mesh(job: Job, vertices: np.ndarray | None, faces: np.ndarray) -> HeatMesh | None:
    """Error of a scored prediction over its surface; None where there is none or it could not be aligned."""
    if vertices is None:
        return None
    item, truth, prediction = job.item, _truth(job.item.mesh), Mesh(vertices, faces)
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
