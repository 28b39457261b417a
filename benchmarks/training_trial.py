"""One training of MFNet outside the pipeline, on what the pipeline has prepared, scored on FaceScape's sets."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import yaml

from mfnet.config import Params
from mfnet.data.batches import TripletData
from mfnet.data.facescape import Benchmark
from mfnet.data.landmarks import landmark_detector
from mfnet.data.store import FaceStore
from mfnet.evaluation.attribution import before_the_pinhole
from mfnet.evaluation.benchmark import plan, run, summarise
from mfnet.evaluation.methods import ParametricMethod, Photographs
from mfnet.flow import load_flow_estimator
from mfnet.flow.store import FlowStore
from mfnet.head import load_head
from mfnet.reconstruct import Reconstructor
from mfnet.training import train


def changed(params: Params, settings: Iterable[str]) -> Params:
    """Parameters with changes such as "train.steps=2000", as `dvc exp run -S` takes them."""
    content = params.model_dump()
    for setting in settings:
        key, value = setting.split("=", 1)
        *sections, name = key.split(".")
        section = content
        for part in sections:
            section = section[part]
        section[name] = yaml.safe_load(value)
    return Params.model_validate(content)


def train_and_score(params: Params, target: Path, flow_folder: Path = Path("data/flow")) -> dict[str, float]:
    """Train with params.loss into a folder; minutes, landmark error, wild CD, lab CD from three views and one.

    The lab's CD is as the benchmark has it, and of the same parameters before the true pinhole.

    An interrupted training goes on from the folder's checkpoint; its minutes are then those of the last part.
    """
    table = pd.read_parquet("data/triplets.parquet")
    flow = FlowStore(flow_folder, with_flow=params.loss.multiop_form == "precomputed")
    stores = (FaceStore(Path("data/faces")), flow)
    data = {split: TripletData(table, split, *stores) for split in ("train", "validation")}
    head = load_head(params.head)
    estimator = load_flow_estimator(params.flow.estimator, params.flow.updates)
    began = time.monotonic()
    values = train(params, "full", params.loss, data, head, estimator, target, lambda *_: None, lambda *_: None)
    minutes = (time.monotonic() - began) / 60
    return {
        "minutes": minutes,
        "landmark_error_percent": 100 * values["landmark_error_validation"],
        **score(params, target),
    }


def score(params: Params, folder: Path) -> dict[str, float]:
    """Wild CD, lab CD from three views and one, of a trained folder; see `train_and_score`."""
    root = params.data.facescape
    photographs = Photographs(root, landmark_detector(params.landmarks.detector, root))
    jobs = plan(Benchmark(root), params.evaluate.lab_views)
    lab = [job for job in jobs if job.setting != "wild"]
    reconstructor, workers = Reconstructor.load(folder, "cpu"), params.engine.workers
    found = summarise(run(ParametricMethod(reconstructor, photographs, params.evaluate), jobs, workers))
    scores = {"wild_cd_mm": found["wild"]["all"]["cd_mm"]}
    pinhole = summarise(run(before_the_pinhole(reconstructor, photographs, lab), lab, workers))
    for suffix, means_by_setting in (("", found["lab"]), ("_pinhole", pinhole["lab"])):
        for setting, means in means_by_setting.items():
            scores[f"lab_{setting}_cd_mm{suffix}"] = means["cd_mm"]
    return scores
