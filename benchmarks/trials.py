"""Trainings of MFNet outside the pipeline, on what the pipeline has prepared, scored on FaceScape's sets.

What has been measured is kept in `data/trials/`, by a digest of the settings, the data and the code: another one of
these is another trial.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path

import yaml

from mfnet.config import Params
from mfnet.evaluation.benchmark import plan, run
from mfnet.evaluation.methods.jobs import Photographs
from mfnet.evaluation.methods.registry import MFNET, build_method
from mfnet.evaluation.statistics.summary import summarise
from mfnet.flow import weights_files
from mfnet.method.start import start_files
from mfnet.method.training import Silent, train
from mfnet.settings import open_benchmark, open_detector
from pipeline.tracking import made_from
from pipeline.training_run import FACES, FLOW, TRIPLETS, material_of, setting_of, write_trained

FOLDER = Path("data/trials")


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


def trial(params: Params, flow: Path = FLOW) -> dict[str, float]:
    """Minutes of a training with params.loss, its landmark error, and its CD in the wild set and the lab.

    Args:
        params: all of params.yaml.
        flow: of the flow store.

    Returns:
        minutes, landmark_error_percent, wild, and a CD for every setting of the lab. Read back where the same has been
        measured; an interrupted training goes on, and its minutes are then those of the last part.
    """
    settings = params.model_dump_json(exclude={"engine", "synthesize", "fit", "ablation"})
    weights = [*weights_files(params.flow.estimator), *start_files()]
    inputs = [params.head.path, FACES, TRIPLETS, flow, params.data.facescape, *weights]
    data = made_from(inputs)
    digest = hashlib.blake2b((settings + data).encode(), digest_size=8).hexdigest()
    known, folder = FOLDER / f"{digest}.json", FOLDER / digest
    if not known.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps(_train(params, folder, flow) | _score(params, folder)) + "\n")
    scores: dict[str, float] = json.loads(known.read_text())
    return scores


def _train(params: Params, folder: Path, flow: Path) -> dict[str, float]:
    material = material_of(params, params.loss, flow)
    began = time.monotonic()
    network, values = train(setting_of(params, params.seed, params.loss), material, Silent(), folder)
    minutes = (time.monotonic() - began) / 60
    write_trained(folder, params, network, material.head)
    return {"minutes": minutes, "landmark_error_percent": 100 * values["landmark_error_validation"]}


def _score(params: Params, folder: Path) -> dict[str, float]:
    root = params.data.facescape
    photographs = Photographs(root, open_detector(params.landmarks, root))
    jobs = plan(open_benchmark(root), params.evaluate.lab_views)
    method = build_method(MFNET, params, photographs, folder)
    summary = summarise(run(method, jobs, params.engine.workers))
    return {"wild": summary["wild"]["all"]["cd_mm"]} | {
        setting: means["cd_mm"] for setting, means in summary["lab"].items()
    }
