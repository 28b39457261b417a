"""Runs a method over the FaceScape benchmark: predictions and scores per image."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mfnet.data.facescape import LAB_FOCALS, Benchmark, LabItem, WildItem, read_obj
from mfnet.errors import UserError
from mfnet.evaluation.methods.jobs import Job, Method, Submission
from mfnet.evaluation.protocol.scores import METRICS, Mesh, Score, score_lab, score_wild
from mfnet.parallel import parallel_stream, progress

# The three views of a person: the front and thirty degrees to either side. A scored view takes the place of the
# one whose yaw is nearest to its own.
_TRIPLE = (0, 1, 8)
_LAB_YAW = (0, 30, 21.5, -21.5, 0, 0, 21.5, -21.5, -30, 60, -60)
# The benchmark's groups of views by the angle to the camera.
ANGLE_VIEWS = {"0": (0,), "30": tuple(range(1, 9)), "60": (9, 10)}
# Behind a lab setting's name: heads not scaled to three pupil distances.
OWN_SIZE = "_own_size"
_TOGETHER = 64


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
def ground_truth(path: Path) -> Mesh:
    """A scan; the last ones read are kept."""
    return Mesh(*read_obj(path))


class Verdict(NamedTuple):
    """An item's score, and why it lacks a figure: "" where it lacks none."""

    score: Score
    failure: str


Judge = Callable[[tuple[Job, Submission]], dict[str, Verdict]]
_NO_SCORE = Score(math.nan, math.nan, math.nan)


def _judge(task: tuple[Job, Submission], faces: np.ndarray, strict: bool) -> dict[str, Verdict]:
    """An item's verdicts by setting: in the lab by the loaders' rule and, of heads that have one, at their own size."""
    job, submission = task
    if isinstance(submission, str):
        # A head that is not there is missing in every setting that it would have been scored in.
        settings = [job.setting, *([job.setting + OWN_SIZE] if job.intrinsics else [])]
        return dict.fromkeys(settings, Verdict(_NO_SCORE, submission))
    verdicts = {job.setting: _verdict(job, submission.vertices, faces, strict)}
    if submission.own_size is not None:
        verdicts[job.setting + OWN_SIZE] = _verdict(job, submission.own_size, faces, strict)
    return verdicts


def _verdict(job: Job, vertices: np.ndarray, faces: np.ndarray, strict: bool) -> Verdict:
    if not np.isfinite(vertices).all():
        return Verdict(_NO_SCORE, "prediction holds values that are not finite")
    item, prediction = job.item, Mesh(vertices, faces)
    try:
        truth = ground_truth(item.mesh)
    except UserError as error:
        return Verdict(_NO_SCORE, str(error))
    if isinstance(item, WildItem):
        score = score_wild(truth, prediction, item.pupil_scale, item.rotation, item.head_center, strict)
    else:
        score = score_lab(truth, prediction, item.K, item.Rt, item.rotation, item.head_center, strict)
    # Section 9 of the protocol: here the official evaluator stops, so that the item has no other figure either.
    if math.isnan(score.cd_mm):
        return Verdict(_NO_SCORE, "prediction and scan share no surface, or it leaves the cylinder map")
    # Section 8 of the protocol: equal normals may have a cosine just above one, which is no angle's.
    return Verdict(score, "no MNE: normals that are equal, or none" if math.isnan(score.mne_rad) else "")


class Unfinished(NamedTuple):
    """Scores that an interrupted run has left.

    path: a file of JSON lines. made_from: a digest of what scores depend on: model, code, settings, benchmark; what was
    scored under another one is scored again.
    """

    path: Path
    made_from: str


def run(
    method: Method, jobs: Sequence[Job], workers: int | None, unfinished: Unfinished | None = None, strict: bool = False
) -> pd.DataFrame:
    """Predict and score every job, some at a time, so that little is lost where it is interrupted.

    Args:
        method: to be judged.
        jobs: from `plan`.
        workers: processes that score; None is one per core.
        unfinished: what was scored before, and is not again.
        strict: without the benchmark's oddities; see `mfnet.evaluation.protocol.scores`.

    Returns:
        One row per job (setting, index, stem, person, bin, focal, view, angle in degrees, the metrics, NaN where an
        item has none, and `failure`, why). Of a head that has a size of its own a lab job has another row, with
        `OWN_SIZE` behind its setting, in which it keeps it.
    """
    names = [f"{job.setting} {job.item.stem}{' strict' * strict}" for job in jobs]
    known = _read_unfinished(unfinished) if unfinished else {}
    left = [k for k, name in enumerate(names) if name not in known]
    judge = partial(_judge, faces=method.faces, strict=strict)
    for k, verdicts in progress(_judged(method, jobs, left, judge, workers), "score", len(left)):
        known[names[k]] = verdicts
        if unfinished:
            with unfinished.path.open("a") as stream:
                stream.write(json.dumps([unfinished.made_from, names[k], verdicts]) + "\n")
    rows = [row for job, name in zip(jobs, names, strict=True) for row in _rows(job, known[name])]
    columns = ["setting", "index", "stem", "person", "bin", "focal", "view", "angle", *METRICS, "failure"]
    return pd.DataFrame(rows).reindex(columns=columns)


def _judged(
    method: Method, jobs: Sequence[Job], positions: Sequence[int], judge: Judge, workers: int | None
) -> Iterator[tuple[int, dict[str, Verdict]]]:
    """Positions of jobs and their verdicts, predicted and scored some at a time."""
    for start in range(0, len(positions), _TOGETHER):
        chunk = positions[start : start + _TOGETHER]
        submissions = method([jobs[k] for k in chunk])
        tasks = [(jobs[k], submission) for k, submission in zip(chunk, submissions, strict=True)]
        yield from zip(chunk, parallel_stream(judge, tasks, None, workers), strict=True)


def _read_unfinished(unfinished: Unfinished) -> dict[str, dict[str, Verdict]]:
    lines = unfinished.path.read_text().splitlines(keepends=True) if unfinished.path.is_file() else []
    # The line that was being written when the run ended is not whole, and what follows must not be appended to it.
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        unfinished.path.write_text("".join(whole))
    known = {}
    for made_from, name, verdicts in map(json.loads, whole):
        if made_from == unfinished.made_from:
            known[name] = {setting: Verdict(Score(*score), failure) for setting, (score, failure) in verdicts.items()}
    return known


def _rows(job: Job, verdicts: dict[str, Verdict]) -> list[dict[str, object]]:
    item = job.item
    lab = isinstance(item, LabItem)
    place = {"focal": LAB_FOCALS[item.focal], "view": item.view} if lab else {"bin": item.bin}  # type: ignore[union-attr]
    named = {"index": item.index, "stem": item.stem, "person": item.mesh.stem, "angle": item.angle}
    return [
        {"setting": setting, **named, **place, **verdict.score._asdict(), "failure": verdict.failure}
        for setting, verdict in verdicts.items()
    ]
