"""What the report stage shows: its figures with their captions, the figures in one number, and the page of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mfnet.data.facescape import Benchmark
from mfnet.evaluation import figures
from mfnet.evaluation.baselines import BASELINES
from mfnet.evaluation.comparison import comparison_sheet
from mfnet.evaluation.gallery import camera_sheet, head_sheet
from mfnet.evaluation.heat import HEAT_LIMIT_MM, read_heat_mesh
from mfnet.evaluation.page import Section, build_page
from mfnet.evaluation.tables import REFINED, Table
from mfnet.evaluation.turntable import turntable
from mfnet.head import HeadModel

_NOTES = [
    "Measured on this machine from the pipeline's data; with the embedded default these are generated heads "
    "photographed into the layouts of Multi-PIE, FaceScape and AFLW2000-3D. Published rows are "
    "of photographs of real people.",
]
_CAPTIONS = {
    "reconstructions.png": "Held-out people, three views: photographs, the shape over them, the fused texture.",
    "curves.png": "Training loss, and landmark error on people the network never saw.",
    "cd_by_bin.png": "CD per image and pose bin of the wild set.",
    "cd_by_angle.png": "CD over the angle between the face and the camera: images, and means over fifteen degrees.",
    "cumulative.png": "The share of images below a CD.",
    "comparison.png": "Scored photographs, and per method the shape over them, alone, and its error from there; "
    "in the lab as in the heat maps below.",
    "aflw2000.png": "AFLW2000-3D by yaw, top to bottom: photographs, the shape from one view over them, true landmarks "
    "(green) and found ones (red).",
    "heat.png": "Distance to the scan on the predicted mesh, from three angles; grey where the scan ends. In the lab "
    "refined, landmark fit and oracle have their own size.",
    "training.png": "The last training picture: photographs, shapes, renders of another view's texture, masks.",
    "heads.png": "The head model: the mean and people drawn from it.",
    "cameras.png": "One head from Multi-PIE's fifteen cameras and its texture; below, what three of them (front, "
    "45 degrees to either side) show of the texture and how well, and the three fused, with the confidence.",
}


def draw_figures(
    reports: Path, folder: Path, variants: Sequence[str], reconstructions: np.ndarray, head: HeadModel,
    benchmark: Benchmark, per_image: dict[str, pd.DataFrame],
) -> None:  # fmt: skip
    """Write every figure that has a caption.

    Args:
        reports: with the curves/, heat/ and aflw2000/ that stages have left in it.
        folder: to write to.
        variants: of the ablation; the first one is shown alone.
        reconstructions: of `reconstruction_sheet`.
        head: what is reconstructed with.
        benchmark: whose photographs were scored.
        per_image: method -> its scores.
    """
    first = variants[0]
    figures.write_picture(folder / "reconstructions.png", reconstructions)
    figures.write_picture(folder / "heads.png", head_sheet(head))
    figures.write_picture(folder / "cameras.png", camera_sheet(head))
    figures.curves(reports / "curves", variants, folder / "curves.png")
    figures.error_by_bin(per_image, folder / "cd_by_bin.png")
    compared = [name for name in (first, REFINED, *BASELINES) if name in per_image]
    figures.cumulative({name: per_image[name] for name in compared}, folder / "cumulative.png")
    figures.error_by_angle({name: per_image[name] for name in compared}, folder / "cd_by_angle.png")
    comparison_sheet(benchmark, reports / "heat", compared, folder / "comparison.png")
    figures.heat_sheet(reports / "heat", compared, folder / "heat.png")
    (folder / "aflw2000.png").write_bytes((reports / "aflw2000" / "pictures.png").read_bytes())
    last = sorted((reports / "curves" / first).glob("step_*.png"))[-1]
    (folder / "training.png").write_bytes(last.read_bytes())


def page_of(reports: Path, tables: list[Table], sections: list[Section], first: str, merged: dict[str, Any]) -> str:
    """The page as text, from the figures in `reports/figures` and the first variant's heat meshes.

    Args:
        reports: where both lie.
        tables: of `build_tables`.
        sections: what else is told in rows.
        first: the variant that the page is about.
        merged: of `merged_metrics`, with the landmark error.
    """
    shown = [(reports / "figures" / name, caption) for name, caption in _CAPTIONS.items()]
    meshes = [sorted((reports / "heat" / first).glob(f"{group}_*.ply")) for group in ("wild", "lab")]
    caption = (
        f"{first} as in the heat maps, above of the wild set, below of the lab from three views: from blue, on the "
        f"scan, to red, {HEAT_LIMIT_MM:.0f} mm and more from it; grey where the scan ends."
    )
    turning = turntable([[read_heat_mesh(path) for path in row] for row in meshes]), caption
    return build_page(tables, sections, shown, turning, _facts(merged, first), _NOTES)


def _facts(merged: dict, variant: str) -> dict[str, str]:
    held_out = merged[variant]["landmarks"]["held_out_error"]
    facts = {"landmark error on held-out people": f"{100 * held_out:.2f} % of the outer-eye distance"}
    for setting, values in merged[variant]["lab"].items():
        facts[f"lab CD, {setting.replace('_', ' ')}"] = f"{_millimetres(values['cd_mm'])} over {_done(values)} images"
    others = {name: merged[name] for name in (REFINED,) if name in merged} | merged["baselines"]
    for name, values in others.items():
        for setting, means in values["lab"].items():
            facts[f"lab CD, {name.replace('_', ' ')}, {setting.replace('_', ' ')}"] = _millimetres(means["cd_mm"])
    return facts


def _done(values: dict) -> int:
    return round(values["n"] * values["done_rate"])


def _millimetres(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} mm"
