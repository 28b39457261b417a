"""Stages evaluate@VARIANT, evaluate_again@VARIANT-SEED, refined and baselines@METHOD: a trained variant, the first of
them refined, or what needs no training, over FaceScape."""

import hashlib
import json
from pathlib import Path

import mlflow
import pandas as pd

from mfnet.config import Params, load_params
from mfnet.data.facescape import Benchmark
from mfnet.data.landmarks import landmark_detector
from mfnet.evaluation.baselines import BASELINES, ONE_VIEW, baseline
from mfnet.evaluation.benchmark import Unfinished, heat_mesh, plan, require_scores, run, shown_jobs, summarise
from mfnet.evaluation.heat import write_heat_mesh
from mfnet.evaluation.methods import Job, Method, ParametricMethod, Photographs
from mfnet.evaluation.tables import REFINED
from mfnet.reconstruct import Reconstructor
from pipeline.stage import main, whole_file, whole_folder
from pipeline.tracking import log_metrics, made_from, tracked


def stage(variant: str) -> None:
    """Write reports/metrics/VARIANT.json, reports/per_image/VARIANT.csv and reports/heat/VARIANT/.

    Args:
        variant: of the ablation, with another seed or without ("full-1"), "refined", or one of the baselines
            "mean_head", "landmark_fit" and "oracle_fit".
    """
    params = load_params()
    root = params.data.facescape
    logged = {"evaluate": params.evaluate.model_dump(), "facescape": str(root)}
    judged = params.head.path if variant in BASELINES else _model(variant, params)
    with tracked("evaluate", logged, [judged, root], variant):
        jobs = plan(Benchmark(root), lab_views(variant, params), three_view=variant not in ONE_VIEW)
        photographs = Photographs(root, landmark_detector(params.landmarks.detector, root))
        method = method_named(variant, params, photographs)
        unfinished = Unfinished(Path(f"reports/per_image/{variant}.scores.partial"), _made_from(judged, params))
        unfinished.path.parent.mkdir(parents=True, exist_ok=True)
        per_image = run(method, jobs, params.engine.workers, unfinished)
        require_scores(per_image)
        metrics = summarise(per_image)
        _write_heat(variant, params.evaluate.heat_meshes, method, jobs, per_image)
        with whole_file(f"reports/per_image/{variant}.csv") as path:
            per_image.to_csv(path, index=False, float_format="%.6f")
        mlflow.log_artifact(f"reports/per_image/{variant}.csv")
        with whole_file(f"reports/metrics/{variant}.json") as path:
            path.write_text(json.dumps(metrics, indent=1) + "\n")
        log_metrics(metrics)
        unfinished.path.unlink()


def lab_views(variant: str, params: Params) -> list[int]:
    """Views of the lab that a name of `stage` is scored in: none for the ablation's further variants, which the paper
    has in the wild set only."""
    first = params.train.variants[0]
    return params.evaluate.lab_views if variant.split("-", maxsplit=1)[0] in (first, REFINED, *BASELINES) else []


def method_named(variant: str, params: Params, photographs: Photographs) -> Method:
    """The method that a name of `stage` stands for, over photographs of a benchmark."""
    if variant in BASELINES:
        return baseline(variant, params, photographs)
    reconstructor = Reconstructor.load(_model(variant, params))
    if variant == REFINED:
        reconstructor = reconstructor.refined(params.fit, params.engine.workers)
    return ParametricMethod(reconstructor, photographs, params.evaluate)


def _model(variant: str, params: Params) -> Path:
    return Path("models") / (params.train.variants[0] if variant == REFINED else variant)


def _made_from(judged: Path, params: Params) -> str:
    files = sorted(judged.glob("*")) if judged.is_dir() else [judged]
    settings = params.model_dump_json(include={"data", "landmarks", "head", "fit", "evaluate"})
    digest = made_from([params.data.facescape, Path("pipeline/evaluate.py"), *files])
    return hashlib.blake2b((digest + settings).encode(), digest_size=12).hexdigest()


def _write_heat(variant: str, count: int, method: Method, jobs: list[Job], scores: pd.DataFrame) -> None:
    lab = "single_view" if variant in ONE_VIEW else "three_view"
    with whole_folder(f"reports/heat/{variant}") as folder:
        for place, setting in (("wild", "wild"), ("lab", lab)):
            chosen = shown_jobs(jobs, scores, setting, count)
            for job, submission in zip(chosen, method(chosen), strict=True):
                heat = heat_mesh(job, submission, method.faces)
                if heat is not None:
                    write_heat_mesh(folder / f"{place}_{job.item.stem}.ply", heat)


if __name__ == "__main__":
    main(stage)
