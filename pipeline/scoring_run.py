"""What the stages that score a method have in common: one table of scores, and the method's MLflow run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import mlflow
import pandas as pd

from mfnet.config import Params
from mfnet.evaluation.benchmark import Unfinished, plan, run
from mfnet.evaluation.heat import heat_jobs, heat_mesh, write_heat_mesh
from mfnet.evaluation.methods.jobs import Job, Method, Photographs
from mfnet.evaluation.methods.registry import BASELINES, ONE_VIEW, REFINED, build_method
from mfnet.evaluation.statistics.headline import headline_scores
from mfnet.evaluation.statistics.summary import require_scores, summarise
from mfnet.settings import open_benchmark, open_detector
from pipeline.outputs import whole_file, whole_folder
from pipeline.tracking import log_metrics, log_scores, made_from, tracked

PER_IMAGE = Path("reports/per_image")
EVALUATE = "evaluate"


def run_scoring(
    stage: str, name: str, params: Params, method_name: str, model: Path | None, lab_views: Sequence[int]
) -> None:
    """Write reports/per_image/NAME.csv, and with views of the lab reports/heat/NAME/.

    Args:
        stage: in dvc.yaml.
        name: of the outputs.
        params: all of params.yaml.
        method_name: of `mfnet.evaluation.methods.registry.METHODS`.
        model: folder of the network, where the method has one.
        lab_views: of the lab that are scored; none for the ablation, which the paper has in the wild set only.
    """
    root, judged = params.data.facescape, model or params.head.path
    logged = {"evaluate": params.evaluate.model_dump(), "facescape": str(root)}
    variant = None if stage in (EVALUATE, REFINED) else Path(name).name
    with tracked(stage, logged, [judged, root], variant):
        jobs = plan(open_benchmark(root), lab_views, three_view=method_name not in ONE_VIEW)
        photographs = Photographs(root, open_detector(params.landmarks, root))
        method = build_method(method_name, params, photographs, model)
        unfinished = Unfinished(PER_IMAGE / f"{name}.scores.partial", _made_from(judged, params))
        unfinished.path.parent.mkdir(parents=True, exist_ok=True)
        per_image = run(method, jobs, params.engine.workers, unfinished)
        require_scores(per_image)
        if lab_views:
            _write_heat(name, params.evaluate.heat_meshes, method, jobs, per_image)
        with whole_file(PER_IMAGE / f"{name}.csv") as path:
            per_image.to_csv(path, index=False, float_format="%.6f")
        mlflow.log_artifact(str(PER_IMAGE / f"{name}.csv"))
        scores = headline_scores(summarise(per_image), method_name)
        if model is not None and method_name not in (*BASELINES, REFINED):
            log_scores(model, scores, benchmark_of(params), PER_IMAGE / f"{name}.csv")
        else:
            log_metrics(scores)
        unfinished.path.unlink()


def benchmark_of(params: Params) -> str:
    """Names what is scored and how."""
    settings = params.evaluate.model_dump_json(include={"submit", "lab_views"}) + params.landmarks.model_dump_json()
    return hashlib.blake2b((made_from([params.data.facescape]) + settings).encode(), digest_size=8).hexdigest()


def _made_from(judged: Path, params: Params) -> str:
    files = sorted(judged.glob("*")) if judged.is_dir() else [judged]
    settings = params.model_dump_json(include={"data", "landmarks", "head", "fit", "evaluate"})
    digest = made_from([params.data.facescape, *files])
    return hashlib.blake2b((digest + settings).encode(), digest_size=12).hexdigest()


def _write_heat(name: str, count: int, method: Method, jobs: list[Job], scores: pd.DataFrame) -> None:
    lab = "single_view" if name in ONE_VIEW else "three_view"
    with whole_folder(f"reports/heat/{name}") as folder:
        for place, setting in (("wild", "wild"), ("lab", lab)):
            spread = heat_jobs(jobs, scores, setting, count)
            for job, submission in zip(spread, method(spread), strict=True):
                heat = heat_mesh(job, submission, method.faces)
                if heat is not None:
                    write_heat_mesh(folder / f"{place}_{job.item.stem}.ply", heat)
