"""Stage attribution: what holds MFNet's three-view accuracy back, part by part."""

from pathlib import Path

import mlflow

from mfnet.config import load_params
from mfnet.evaluation.attribution import attribution
from mfnet.evaluation.benchmark import plan
from mfnet.evaluation.methods.jobs import Photographs
from mfnet.reconstruct import Reconstructor
from mfnet.settings import open_benchmark, open_detector
from pipeline.outputs import main, whole_file
from pipeline.tracking import tracked

MODEL, TARGET = Path("models/mfnet"), Path("reports/attribution.csv")


def stage() -> None:
    """Write reports/attribution.csv."""
    params = load_params()
    root = params.data.facescape
    with tracked("attribution", {"evaluate": params.evaluate.model_dump()}, [MODEL, root]):
        jobs = [job for job in plan(open_benchmark(root), params.evaluate.lab_views) if job.setting == "three_view"]
        photographs = Photographs(root, open_detector(params.landmarks, root))
        parts = attribution(Reconstructor.load(MODEL, "cpu"), photographs, jobs, params.engine.workers)
        with whole_file(TARGET) as path:
            parts.to_csv(path, index=False, float_format="%.6f")
        mlflow.log_artifact(str(TARGET))


if __name__ == "__main__":
    main(stage)
