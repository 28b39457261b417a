"""Stage attribution: what holds the first variant's three-view accuracy back, part by part."""

from pathlib import Path

import mlflow

from mfnet.config import load_params
from mfnet.data.facescape import Benchmark
from mfnet.data.landmarks import landmark_detector
from mfnet.evaluation.attribution import attribution
from mfnet.evaluation.benchmark import plan
from mfnet.evaluation.methods import Photographs
from mfnet.reconstruct import Reconstructor
from pipeline.stage import main, whole_file
from pipeline.tracking import log_metrics, tracked


def stage() -> None:
    """Write reports/attribution.csv."""
    params = load_params()
    root, model = params.data.facescape, Path("models") / params.train.variants[0]
    with tracked("attribution", {"evaluate": params.evaluate.model_dump()}, [model, root]):
        jobs = [job for job in plan(Benchmark(root), params.evaluate.lab_views) if job.setting == "three_view"]
        photographs = Photographs(root, landmark_detector(params.landmarks.detector, root))
        found = attribution(Reconstructor.load(model, "cpu"), photographs, jobs, params.engine.workers)
        with whole_file("reports/attribution.csv") as path:
            found.to_csv(path, index=False, float_format="%.6f")
        mlflow.log_artifact("reports/attribution.csv")
        log_metrics({row["what"].replace(" ", "_").replace(",", ""): row["cd_mm"] for row in found.to_dict("records")})


if __name__ == "__main__":
    main(stage)
