"""Stage report: metrics.json, the three tables, figures and the page."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd

from mfnet.config import Params, load_params
from mfnet.data.facescape import Benchmark
from mfnet.evaluation import figures
from mfnet.evaluation.benchmark import averaged, load_scores, summarise
from mfnet.evaluation.comparison import comparison_sheet
from mfnet.evaluation.gallery import camera_sheet, head_sheet, reconstruction_sheet
from mfnet.evaluation.heat import read_heat_mesh
from mfnet.evaluation.page import Section, attribution_section, build_page, differences_section, means_section
from mfnet.evaluation.tables import (
    BASELINES,
    REFINED,
    Table,
    build_tables,
    merged_metrics,
    worst_images,
    write_tables,
)
from mfnet.evaluation.turntable import turntable
from mfnet.evaluation.uncertainty import difference_table, mean_table
from mfnet.reconstruct import Reconstructor
from pipeline.stage import main, whole_file, whole_folder
from pipeline.tracking import log_metrics, tracked

REPORTS = Path("reports")
NOTES = [
    "Measured on this machine from the pipeline's data; with the embedded default these are generated heads "
    "photographed into Multi-PIE's and FaceScape's layouts. Published rows come from the paper: real people.",
]


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
        tables = build_tables(metrics, variants)
        differences, means = difference_table(scores, variants[0]), mean_table(scores)
        held_back = pd.read_csv(REPORTS / "attribution.csv")
        with whole_folder(REPORTS / "tables") as folder:
            write_tables(tables, folder)
            differences.to_csv(folder / "differences.csv", index=False)
            means.to_csv(folder / "means.csv", index=False)
            held_back.to_csv(folder / "attribution.csv", index=False)
        with whole_folder(REPORTS / "figures") as folder:
            _draw(folder, params, per_image)
        with whole_file(REPORTS / "index.html") as path:
            sections = [
                means_section(means),
                differences_section(differences, variants[0]),
                attribution_section(held_back, variants[0]),
                Section(f"Where {variants[0]} is worst", worst_images(per_image[variants[0]]), ""),
            ]
            path.write_text(_page(tables, sections, variants[0], merged))
        with whole_file(REPORTS / "metrics.json") as path:
            path.write_text(json.dumps(merged, indent=1) + "\n")
        log_metrics(merged)
        for name in ("metrics.json", "index.html", "tables", "figures"):
            path = REPORTS / name
            (mlflow.log_artifacts if path.is_dir() else mlflow.log_artifact)(
                str(path), *([name] if path.is_dir() else [])
            )


CAPTIONS = {
    "reconstructions.png": "Held-out people, three views: photographs, the shape over them, the fused texture.",
    "curves.png": "Training loss, and landmark error on people the network never saw.",
    "cd_by_bin.png": "CD per image and pose bin of the wild set.",
    "cd_by_angle.png": "CD over the angle between the face and the camera: images, and means over fifteen degrees.",
    "cumulative.png": "The share of images below a CD.",
    "comparison.png": "Scored photographs, and per method the shape over them, alone, and its error from there.",
    "heat.png": "Distance to the scan on the predicted mesh, from three angles; grey where the scan ends.",
    "training.png": "The last training picture: photographs, shapes, renders of another view's texture, masks.",
    "heads.png": "The head model: the mean and people drawn from it.",
    "cameras.png": "One head from Multi-PIE's fifteen cameras and its texture; below, what three of them (front, "
    "45 degrees to either side) show of the texture and how well, and the three fused, with the confidence.",
}


def _held_out_error(trainings: list[str]) -> float:
    """Landmark error on held-out people at the end, as the mean over a variant's trainings."""
    curves = [pd.read_csv(REPORTS / "curves" / name / "validation.csv") for name in trainings]
    return float(np.mean([curve["landmark_error_validation"].iloc[-1] for curve in curves]))


def _draw(folder: Path, params: Params, per_image: dict[str, pd.DataFrame]) -> None:
    variants = params.train.variants
    first = variants[0]
    reconstructor = Reconstructor.load(Path("models") / first)
    triplets = pd.read_parquet("data/triplets.parquet")
    figures.write_picture(
        folder / "reconstructions.png", reconstruction_sheet(reconstructor, triplets, Path("data/faces"))
    )
    figures.write_picture(folder / "heads.png", head_sheet(reconstructor.head))
    figures.write_picture(folder / "cameras.png", camera_sheet(reconstructor.head))
    figures.curves(REPORTS / "curves", variants, folder / "curves.png")
    figures.error_by_bin(per_image, folder / "cd_by_bin.png")
    compared = [name for name in (first, REFINED, *BASELINES) if name in per_image]
    figures.cumulative({name: per_image[name] for name in compared}, folder / "cumulative.png")
    figures.error_by_angle({name: per_image[name] for name in compared}, folder / "cd_by_angle.png")
    benchmark = Benchmark(params.data.facescape)
    comparison_sheet(benchmark, REPORTS / "heat", compared, folder / "comparison.png")
    figures.heat_sheet(REPORTS / "heat", compared, folder / "heat.png")
    last = sorted((REPORTS / "curves" / first).glob("step_*.png"))[-1]
    (folder / "training.png").write_bytes(last.read_bytes())


def _page(tables: list[Table], sections: list[Section], first: str, merged: dict) -> str:
    shown = [(REPORTS / "figures" / name, caption) for name, caption in CAPTIONS.items()]
    turning = turntable([read_heat_mesh(path) for path in sorted((REPORTS / "heat" / first).glob("wild_*.ply"))])
    return build_page(tables, sections, shown, turning, _facts(merged, first), NOTES)


def _facts(merged: dict, variant: str) -> dict[str, str]:
    held_out = merged[variant]["landmarks"]["held_out_error"]
    facts = {"landmark error on held-out people": f"{100 * held_out:.2f} % of the outer-eye distance"}
    for setting, values in merged[variant]["lab"].items():
        facts[f"lab CD, {setting.replace('_', ' ')}"] = f"{_millimetres(values['cd_mm'])} over {values['n']} images"
    others = {name: merged[name] for name in (REFINED,) if name in merged} | merged["baselines"]
    for name, values in others.items():
        for setting, means in values["lab"].items():
            facts[f"lab CD, {name.replace('_', ' ')}, {setting.replace('_', ' ')}"] = _millimetres(means["cd_mm"])
    return facts


def _millimetres(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} mm"


if __name__ == "__main__":
    main(stage)
