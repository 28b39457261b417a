"""Stages evaluate@VARIANT, evaluate_again@VARIANT-SEED, refined and baselines@METHOD: a trained variant, the first of
them refined, or what needs no training, over FaceScape."""

import json
from pathlib import Path

import mlflow

from mfnet.config import Params, load_params
from mfnet.data.facescape import Benchmark
from mfnet.data.landmarks import landmark_detector
from mfnet.errors import UserError
from mfnet.evaluation.benchmark import Unfinished, evenly_spaced, heat_mesh, plan, run, summarise
from mfnet.evaluation.heat import write_heat_mesh
from mfnet.evaluation.methods import Job, MeanHeadMethod, Method, ParametricMethod, Photographs
from mfnet.evaluation.oracle import OracleMethod
from mfnet.evaluation.tables import BASELINES, LANDMARK_FIT, MEAN_HEAD, ORACLE_FIT, REFINED
from mfnet.head import load_head
from mfnet.landmark_fit import MeanHeadFit
from mfnet.reconstruct import Reconstructor
from pipeline.stage import main, whole_file, whole_folder
from pipeline.tracking import log_metrics, made_from, tracked

# What a person's other photographs would change nothing for.
ONE_VIEW = (MEAN_HEAD, ORACLE_FIT)


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
        jobs = plan(Benchmark(root), params.evaluate.lab_views, three_view=variant not in ONE_VIEW)
        photographs = Photographs(root, landmark_detector(params.landmarks.detector, root))
        method = method_named(variant, params, photographs)
        partial = Path(f"reports/per_image/{variant}.scores.partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        settings = params.model_dump_json(include={"data", "landmarks", "head", "fit", "evaluate"})
        unfinished = Unfinished(partial, made_from([judged, root]) + settings)
        per_image = run(method, jobs, params.engine.workers, unfinished)
        if per_image["cd_mm"].isna().all():
            raise UserError(f"evaluate@{variant}: not one of {len(jobs)} items could be scored; see data.facescape")
        metrics = summarise(per_image)
        scored = per_image.dropna(subset="cd_mm")
        places = set(zip(scored["setting"], scored["stem"], strict=True))
        done = [job for job in jobs if (job.setting, job.item.stem) in places]
        _write_heat(variant, params.evaluate.heat_meshes, method, done)
        with whole_file(f"reports/per_image/{variant}.csv") as path:
            per_image.to_csv(path, index=False, float_format="%.6f")
        mlflow.log_artifact(f"reports/per_image/{variant}.csv")
        with whole_file(f"reports/metrics/{variant}.json") as path:
            path.write_text(json.dumps(metrics, indent=1) + "\n")
        log_metrics(metrics)
        partial.unlink()


def method_named(variant: str, params: Params, photographs: Photographs) -> Method:
    """The method that a name of `stage` stands for, over photographs of a benchmark."""
    submit = params.evaluate.submit
    if variant == MEAN_HEAD:
        return MeanHeadMethod(MeanHeadFit(load_head(params.head)), photographs, params.data.crop_scale, submit)
    if variant == ORACLE_FIT:
        return OracleMethod(params.head, params.engine.workers, submit)
    if variant == LANDMARK_FIT:
        reconstructor = Reconstructor.fitting(load_head(params.head), params)
    else:
        reconstructor = Reconstructor.load(_model(variant, params))
        if variant == REFINED:
            reconstructor = reconstructor.refined(params.fit)
    return ParametricMethod(reconstructor, photographs, params.evaluate)


def _model(variant: str, params: Params) -> Path:
    return Path("models") / (params.train.variants[0] if variant == REFINED else variant)


def _write_heat(variant: str, count: int, method: Method, jobs: list[Job]) -> None:
    lab = "single_view" if variant in ONE_VIEW else "three_view"
    with whole_folder(f"reports/heat/{variant}") as folder:
        for place, setting in (("wild", "wild"), ("lab", lab)):
            chosen = evenly_spaced([job for job in jobs if job.setting == setting], count)
            for job, submission in zip(chosen, method(chosen), strict=True):
                heat = heat_mesh(job, submission, method.faces)
                if heat is not None:
                    write_heat_mesh(folder / f"{place}_{job.item.stem}.ply", heat)


if __name__ == "__main__":
    main(stage)
