"""Runs a method over the FaceScape benchmark: predictions, scores per image, means in the benchmark's groups."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mfnet.data.facescape import BINS, LAB_FOCALS, Benchmark, LabItem, WildItem, read_obj
from mfnet.errors import UserError
from mfnet.evaluation.facescape import METRICS, Mesh, Score, align_lab, align_wild, score_lab, score_wild
from mfnet.evaluation.heat import HeatMesh, surface_error
from mfnet.evaluation.methods import Job, Method, Submission
from mfnet.evaluation.submission import three_units_high
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
def _truth(path: Path) -> Mesh:
    return Mesh(*read_obj(path))


class Verdict(NamedTuple):
    """An item's score, and why it lacks a figure: "" where it lacks none."""

    score: Score
    failure: str


Judge = Callable[[tuple[Job, Submission]], dict[str, Verdict]]
_NO_SCORE = Score(math.nan, math.nan, math.nan)


def _judge(task: tuple[Job, Submission], faces: np.ndarray, own_size: bool, strict: bool) -> dict[str, Verdict]:
    """An item's verdicts by setting: in the lab by the loaders' rule and, of heads that have one, at their own size."""
    job, submission = task
    if not (own_size and job.intrinsics):
        return {job.setting: _verdict(job, submission, faces, strict)}
    by_rule = submission if isinstance(submission, str) else three_units_high(submission)
    return {
        job.setting: _verdict(job, by_rule, faces, strict),
        job.setting + OWN_SIZE: _verdict(job, submission, faces, strict),
    }


def _verdict(job: Job, submission: Submission, faces: np.ndarray, strict: bool) -> Verdict:
    if isinstance(submission, str):
        return Verdict(_NO_SCORE, submission)
    if not np.isfinite(submission).all():
        return Verdict(_NO_SCORE, "prediction holds values that are not finite")
    item, prediction = job.item, Mesh(submission, faces)
    try:
        truth = _truth(item.mesh)
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
        strict: without the benchmark's oddities; see `mfnet.evaluation.facescape`.

    Returns:
        One row per job (setting, index, stem, person, bin, focal, view, angle in degrees, the metrics, NaN where an
        item has none, and `failure`, why). Of a method whose heads have a size of their own every lab job has another
        row with `OWN_SIZE` behind its setting, in which they keep it.
    """
    names = [f"{job.setting} {job.item.stem}{' strict' * strict}" for job in jobs]
    known = _read_unfinished(unfinished) if unfinished else {}
    left = [k for k, name in enumerate(names) if name not in known]
    judge = partial(_judge, faces=method.faces, own_size=method.own_size, strict=strict)
    for k, verdicts in progress(_judged(method, jobs, left, judge, workers), "score", len(left)):
        known[names[k]] = verdicts
        if unfinished:
            with unfinished.path.open("a") as stream:
                stream.write(json.dumps([unfinished.made_from, names[k], verdicts]) + "\n")
    rows = [row for job, name in zip(jobs, names, strict=True) for row in _rows(job, known[name])]
    columns = ["setting", "index", "stem", "person", "bin", "focal", "view", "angle", *METRICS, "failure"]
    return pd.DataFrame(rows).reindex(columns=columns)


def _judged(
    method: Method, jobs: Sequence[Job], chosen: Sequence[int], judge: Judge, workers: int | None
) -> Iterator[tuple[int, dict[str, Verdict]]]:
    """Positions of the chosen jobs and their verdicts, predicted and scored some at a time."""
    for start in range(0, len(chosen), _TOGETHER):
        chunk = chosen[start : start + _TOGETHER]
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
            # Names that are all digits, as the wild set's are, would else be read as numbers.
            found[method] = [pd.read_csv(path, dtype={"stem": str, "person": str}) for path in paths]
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
    """Means over the items that did not fail, in the benchmark's groups; null where none is left.

    Returns:
        `wild`: per pose bin, and `all`; `lab`: per setting over all of it, `by_focal` (in pixels) and `by_angle` (in
        degrees, of the photographs with the longest focal length alone, as the benchmark has it).
    """

    def means(rows: pd.DataFrame) -> dict:
        values = {name: float(rows[name].mean()) for name in METRICS}
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        return {**finite, "n": len(rows), "done_rate": float(rows["cd_mm"].notna().mean()) if len(rows) else 0.0}

    def of_lab(rows: pd.DataFrame) -> dict:
        focal = {str(pixels): means(rows[rows["focal"] == pixels]) for pixels in LAB_FOCALS}
        far = rows[rows["focal"] == LAB_FOCALS[0]]
        angle = {name: means(far[far["view"].isin(views)]) for name, views in ANGLE_VIEWS.items()}
        return {**means(rows), "by_focal": focal, "by_angle": angle}

    wild, lab = per_image[per_image["setting"] == "wild"], per_image[per_image["setting"] != "wild"]
    return {
        "wild": {name: means(wild[wild["bin"] == name]) for name in BINS} | {"all": means(wild)},
        "lab": {name: of_lab(rows) for name, rows in lab.groupby("setting", sort=True)},
    }


def failures(per_image: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Items that lack a metric: method, setting, how many of how many, and why; no row where there are none."""
    found = []
    for method, table in per_image.items():
        for setting, rows in table.groupby("setting", sort=False):
            for reason, failed in rows[rows[[*METRICS]].isna().any(axis=1)].groupby("failure", sort=False):
                items = f"{len(failed)} of {len(rows)}"
                found.append({"method": method, "setting": setting, "items": items, "why": reason})
    return pd.DataFrame(found, columns=["method", "setting", "items", "why"])


def heat_mesh(job: Job, submission: Submission, faces: np.ndarray) -> HeatMesh | None:
    """Error of a prediction, as it is submitted, over its surface; None where there is none or it cannot be aligned."""
    if isinstance(submission, str):
        return None
    item, truth, prediction = job.item, _truth(job.item.mesh), Mesh(submission, faces)
    if isinstance(item, WildItem):
        aligned = align_wild(truth, prediction, item.pupil_scale, item.rotation, item.head_center)
    else:
        found = align_lab(truth, prediction, item.K, item.Rt, item.rotation, item.head_center)
        if found is None:
            return None
        aligned = found
    return HeatMesh(aligned.prediction, surface_error(aligned.prediction, aligned.truth))


def shown_jobs(jobs: Sequence[Job], scores: pd.DataFrame, setting: str, count: int) -> list[Job]:
    """So many of a setting's jobs, spread evenly, the same for every method; for one without a score the nearest."""
    scored = scores[(scores["setting"] == setting) & scores["cd_mm"].notna()]["stem"]
    jobs = [job for job in jobs if job.setting == setting]
    among = np.flatnonzero([job.item.stem in set(scored) for job in jobs])
    places = np.linspace(0, len(jobs) - 1, min(count, len(jobs))).astype(int)
    nearest = [among[np.abs(among - place).argmin()] for place in places if len(among)]
    return [jobs[k] for k in sorted(set(nearest))]


def require_scores(per_image: pd.DataFrame) -> None:
    """Raise a UserError if not one item could be scored."""
    if per_image["cd_mm"].isna().all():
        why = per_image["failure"].iloc[0] if len(per_image) else "there are none"
        raise UserError(f"evaluate: not one of {len(per_image)} items could be scored ({why}); see data.facescape")
