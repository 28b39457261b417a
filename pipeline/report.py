"""Stage report: metrics.json, the tables, figures and the page."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd

from mfnet.config import load_params
from mfnet.data.facescape import Benchmark
from mfnet.evaluation.baselines import BASELINES
from mfnet.evaluation.benchmark import averaged, failures, load_scores, summarise
from mfnet.evaluation.gallery import reconstruction_sheet
from mfnet.evaluation.page import (
    Section,
    aflw2000_section,
    attribution_section,
    differences_section,
    failures_section,
    means_section,
)
from mfnet.evaluation.report import draw_figures, page_of
from mfnet.evaluation.tables import REFINED, build_tables, merged_metrics, worst_images, write_tables
from mfnet.evaluation.uncertainty import difference_table, mean_table
from mfnet.reconstruct import Reconstructor
from pipeline.stage import main, whole_file, whole_folder
from pipeline.tracking import log_metrics, tracked

REPORTS = Path("reports")


def stage() -> None:
    """Write reports/metrics.json, tables/, figures/ and index.html."""
    params = load_params()
    variants: list[str] = list(params.train.variants)
    trainings = {variant: params.trainings(variant) for variant in variants}
    with tracked("report", {"trainings": trainings}, [REPORTS / "per_image"]):
        scores = load_scores(REPORTS / "per_image", trainings | {name: [name] for name in (REFINED, *BASELINES)})
        per_image = {name: averaged(tables) for name, tables in scores.items()}
        metrics = {name: summarise(table) for name, table in per_image.items()}
        merged = merged_metrics(metrics, variants)
        for variant, names in trainings.items():
            merged[variant]["landmarks"] = {"held_out_error": _held_out_error(names)}
        aflw2000 = json.loads((REPORTS / "metrics" / "aflw2000.json").read_text())
        merged[variants[0]]["aflw2000"] = aflw2000
        tables = build_tables(metrics, variants, len(trainings[variants[0]]))
        differences, means = difference_table(scores, variants[0], of_first=[REFINED]), mean_table(scores)
        failed, held_back = failures(per_image), pd.read_csv(REPORTS / "attribution.csv")
        with whole_folder(REPORTS / "tables") as folder:
            write_tables(tables, folder)
            differences.to_csv(folder / "differences.csv", index=False)
            means.to_csv(folder / "means.csv", index=False)
            failed.to_csv(folder / "failures.csv", index=False)
        with whole_folder(REPORTS / "figures") as folder:
            reconstructor = Reconstructor.load(Path("models") / variants[0])
            people = reconstruction_sheet(reconstructor, pd.read_parquet("data/triplets.parquet"), Path("data/faces"))
            benchmark = Benchmark(params.data.facescape)
            draw_figures(REPORTS, folder, variants, people, reconstructor.head, benchmark, per_image)
        with whole_file(REPORTS / "index.html") as path:
            sections = [
                means_section(means),
                differences_section(differences, variants[0]),
                attribution_section(held_back, variants[0]),
                aflw2000_section(aflw2000, variants[0]),
                failures_section(failed),
                Section(f"Where {variants[0]} is worst", worst_images(per_image[variants[0]]), ""),
            ]
            path.write_text(page_of(REPORTS, tables, sections, variants[0], merged))
        with whole_file(REPORTS / "metrics.json") as path:
            path.write_text(json.dumps(merged, indent=1) + "\n")
        log_metrics(merged)
        for name in ("metrics.json", "index.html", "tables", "figures"):
            path = REPORTS / name
            (mlflow.log_artifacts if path.is_dir() else mlflow.log_artifact)(
                str(path), *([name] if path.is_dir() else [])
            )


def _held_out_error(trainings: list[str]) -> float:
    """Landmark error on held-out people at the end, as the mean over a variant's trainings."""
    curves = [pd.read_csv(REPORTS / "curves" / name / "validation.csv") for name in trainings]
    return float(np.mean([curve["landmark_error_validation"].iloc[-1] for curve in curves]))


if __name__ == "__main__":
    main(stage)
