"""Stage report: metrics.json and scores.json, the tables, pictures and the page."""

import json
from pathlib import Path

import mlflow
import pandas as pd

from mfnet.config import Params, load_params
from mfnet.data.faces import FaceStore
from mfnet.evaluation.methods.registry import MFNET
from mfnet.evaluation.report.measurements import Measurements
from mfnet.evaluation.report.report import Run, draw_figures, page_of, write_tables_of
from mfnet.evaluation.report.tables import build_tables
from mfnet.evaluation.statistics.headline import headline
from mfnet.reconstruct import Reconstructor
from mfnet.settings import open_benchmark
from pipeline.outputs import main, whole_file, whole_folder
from pipeline.tracking import log_headline, tracked

REPORTS = Path("reports")


def stage() -> None:
    """Write reports/metrics.json, scores.json, tables/, figures/ and index.html."""
    params = load_params()
    with tracked("report", {"ablation": params.ablation.model_dump()}, [REPORTS / "per_image"]):
        measurements = Measurements.read(REPORTS, params.ablation.variants, params.ablation.seeds)
        run = Run(REPORTS, params.ablation.seeds, open_benchmark(params.data.facescape), measurements)
        tables = build_tables(measurements, _other_settings(params))
        with whole_folder(REPORTS / "tables") as folder:
            write_tables_of(measurements, tables, folder)
        with whole_folder(REPORTS / "figures") as folder:
            triplets, faces = pd.read_parquet("data/triplets.parquet"), FaceStore(Path("data/faces"))
            draw_figures(run, folder, Reconstructor.load(Path("models/mfnet")), triplets, faces)
        with whole_file(REPORTS / "index.html") as path:
            path.write_text(page_of(run, tables))
        with whole_file(REPORTS / "scores.json") as path:
            path.write_text(json.dumps(measurements.as_scores(), indent=1) + "\n")
        metrics = headline(measurements.summaries, measurements.landmark_errors[MFNET])
        with whole_file(REPORTS / "metrics.json") as path:
            path.write_text(json.dumps(metrics, indent=1) + "\n")
        log_headline(metrics)
        for name in ("index.html", "scores.json"):
            mlflow.log_artifact(str(REPORTS / name))
        mlflow.log_artifacts(str(REPORTS / "tables"), "tables")


def _other_settings(params: Params) -> dict[str, tuple[object, object]]:
    """What of the loss is other in the ablation than in MFNet: name -> both values."""
    own = params.loss.model_dump()
    both = {name: (value, own[name]) for name, value in params.ablation.loss.model_dump().items()}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


if __name__ == "__main__":
    main(stage)
