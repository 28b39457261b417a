"""Stages evaluate@VARIANT and baselines@METHOD: a trained variant, or what needs no training, over FaceScape."""

import json
from pathlib import Path

import mlflow

from mfnet.config import Params, load_params
from mfnet.data.facescape import Benchmark
from mfnet.data.landmarks import landmark_detector
from mfnet.errors import UserError
from mfnet.evaluation.benchmark import (
    Job,
    MeanHeadMethod,
    Method,
    ParametricMethod,
    Photographs,
    evenly_spaced,
    heat_mesh,
    plan,
    run,
    summarise,
)  # fmt: skip
from mfnet.evaluation.heat import write_heat_mesh
from mfnet.evaluation.tables import BASELINES, LANDMARK_FIT, MEAN_HEAD
from mfnet.head import load_head
from mfnet.landmark_fit import MeanHeadFit
from mfnet.reconstruct import Reconstructor
from pipeline.stage import main, whole_file, whole_folder
from pipeline.tracking import log_metrics, tracked


def stage(variant: str) -> None:
    """Write reports/metrics/VARIANT.json, reports/per_image/VARIANT.csv and reports/heat/VARIANT/.

    Args:
        variant: of the ablation, or "mean_head" or "landmark_fit".
    """
    params = load_params()
    root = params.data.facescape
    logged = {"evaluate": params.evaluate.model_dump(), "facescape": str(root)}
    judged = params.head.path if variant in BASELINES else Path("models") / variant
    with tracked("evaluate", logged, [judged, root], variant):
        jobs = plan(Benchmark(root), params.evaluate.lab_views, three_view=variant != MEAN_HEAD)
        photographs = Photographs(root, landmark_detector(params.landmarks.detector, root))
        method = _method(variant, params, photographs)
        per_image, cubes = run(method, jobs, params.engine.workers)
        if per_image["cd_mm"].isna().all():
            raise UserError(f"evaluate@{variant}: not one of {len(jobs)} items could be scored; see data.facescape")
        metrics = summarise(per_image)
        _write_heat(variant, params.evaluate.heat_meshes, method, jobs, cubes)
        with whole_file(f"reports/per_image/{variant}.csv") as path:
            per_image.to_csv(path, index=False, float_format="%.6f")
        mlflow.log_artifact(f"reports/per_image/{variant}.csv")
        with whole_file(f"reports/metrics/{variant}.json") as path:
            path.write_text(json.dumps(metrics, indent=1) + "\n")
        log_metrics(metrics)


def _method(variant: str, params: Params, photographs: Photographs) -> Method:
    if variant == MEAN_HEAD:
        return MeanHeadMethod(MeanHeadFit(load_head(params.head)), photographs, params.data.crop_scale)
    if variant == LANDMARK_FIT:
        reconstructor = Reconstructor.fitting(load_head(params.head), params)
    else:
        reconstructor = Reconstructor.load(Path("models") / variant)
    return ParametricMethod(reconstructor, photographs, params.evaluate.batch)


def _write_heat(variant: str, count: int, method: Method, jobs: list[Job], cubes: list) -> None:
    with whole_folder(f"reports/heat/{variant}") as folder:
        for setting in ("wild", "three_view" if variant != MEAN_HEAD else "single_view"):
            for position in evenly_spaced(jobs, lambda job, wanted=setting: job.setting == wanted, count):  # type: ignore[misc]
                heat = heat_mesh(jobs[position], cubes[position], method.faces)
                if heat is not None:
                    write_heat_mesh(folder / f"{setting}_{jobs[position].item.stem}.ply", heat)


if __name__ == "__main__":
    main(stage)
