"""The report: its pictures, and the page that they stand on."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mfnet.data.faces import FaceStore
from mfnet.data.facescape import Benchmark, LabItem, WildItem
from mfnet.evaluation.heat import HEAT_LIMIT_MM, read_heat_mesh
from mfnet.evaluation.methods.registry import LANDMARK_FIT, MEAN_HEAD, METHODS, MFNET, REFINED, label
from mfnet.evaluation.report import figures
from mfnet.evaluation.report.comparison import comparison_sheet, heat_name
from mfnet.evaluation.report.gallery import camera_sheet, head_sheet, reconstruction_sheet
from mfnet.evaluation.report.measurements import Measurements
from mfnet.evaluation.report.page import (
    Section,
    build_page,
    chart,
    numbered_table,
    photograph,
    pictures,
    table_of,
)  # fmt: skip
from mfnet.evaluation.report.tables import Table, worst_images, write_tables
from mfnet.evaluation.report.verdict import verdict
from mfnet.evaluation.report.viewer import Heads
from mfnet.evaluation.statistics.summary import averaged, failures
from mfnet.evaluation.statistics.uncertainty import difference_table, mean_table
from mfnet.loss_terms import FULL, TERMS
from mfnet.reconstruct import Reconstructor

_FIRST_ROW = (MFNET, REFINED, LANDMARK_FIT, MEAN_HEAD)
_MAIN_COLUMNS = {
    "method": "", "wild": "wild", "lab, three views, own size": "lab, three views",
    "lab, one view, own size": "lab, one view",
}  # fmt: skip
_MAIN_NOTE = (
    "Mean distance to the scan (CD) in mm, its 95 % interval and the number of people. Wild: one photograph. Lab: "
    "heads at the size that the method itself says. The oracle fit has seen the scans. Measured on the data that "
    "params.yaml names; by default these are photographs of generated people."
)
_PEOPLE_CAPTION = "Three photographs of each, the shape over them, the texture."
_MEANS_NOTE = (
    "CD in mm, with the 95 % interval of what it would be over all such people, and the number of people it rests on. "
    "In the lab by the rule of FaceScape's loaders, which scale every head to three pupil distances, and at own size."
)
_DIFFERENCES_NOTE = (
    "CD minus that of {reference} over the same photographs, in mm, with the 95 % interval and the number of people. "
    "In the lab at own size. A method that sees one photograph is compared, from it, with three views of {reference}."
)
_ATTRIBUTION_NOTE = (
    "CD in the lab from three views, in mm, with the 95 % interval over people. As it is: the orthographic answer, "
    "three pupil distances high. In front of the true pinhole: the same answer in perspective, at its own size. Below "
    "that one part at a time is replaced by that of the oracle fit. f1200 to f300: photographs of that focal length in "
    "pixels, from 148, 74 and 37 cm. Strict: depth aligned to the end, not in the benchmark's one step."
)
_AFLW2000_NOTE = (
    "Mean landmark error in per cent of the square root of the area of the face's box, by yaw in degrees, with the "
    "number of photographs; from one photograph, cropped around its annotation."
)


@dataclass(frozen=True)
class Run:
    """What a complete run has left.

    reports: the folder of what its stages wrote.
    seeds: of the ablation's trainings.
    benchmark: whose photographs were scored.
    measurements: the figures.
    """

    reports: Path
    seeds: Sequence[int]
    benchmark: Benchmark
    measurements: Measurements


def draw_figures(
    run: Run, folder: Path, reconstructor: Reconstructor, triplets: pd.DataFrame, faces: FaceStore
) -> None:
    """Write the pictures.

    Args:
        run: that is reported.
        folder: to write to.
        reconstructor: MFNet.
        triplets, faces: the held-out ones are reconstructed.
    """
    reports, methods = run.reports, run.measurements.methods
    figures.write_picture(folder / "reconstructions.png", reconstruction_sheet(reconstructor, triplets, faces))
    figures.write_picture(folder / "heads.png", head_sheet(reconstructor.head))
    figures.write_picture(folder / "cameras.png", camera_sheet(reconstructor.head))
    figures.curves({label(MFNET): reports / "curves" / MFNET}, folder / "curves.png")
    trained = {name: f"ablation/{name}-{run.seeds[0]}" for name in run.measurements.ablation}
    figures.curves(
        {label(name): reports / "curves" / of for name, of in trained.items()}, folder / "ablation_curves.png"
    )
    figures.error_by_bin(methods, folder / "cd_by_bin.png")
    figures.cumulative(methods, folder / "cumulative.png")
    figures.error_by_angle(methods, folder / "cd_by_angle.png")
    comparison_sheet(run.benchmark, reports / "heat", list(METHODS), folder / "comparison.png")
    (folder / "aflw2000.png").write_bytes((reports / "aflw2000" / "pictures.png").read_bytes())
    last = sorted((reports / "curves" / MFNET).glob("step_*.png"))[-1]
    (folder / "training.png").write_bytes(last.read_bytes())


def page_of(run: Run, tables: Sequence[Table]) -> str:
    """The page as text, from the run's pictures and tables."""
    measurements, heads = run.measurements, Heads()
    by_method = {name: [table] for name, table in measurements.methods.items()}
    means = mean_table(by_method)
    main = means[list(_MAIN_COLUMNS)].rename(columns=_MAIN_COLUMNS)
    items = _items_with_heads(run)
    first = pictures([_photograph(items[0]), *_heads(run, heads, items[0], _FIRST_ROW)])
    sections = [
        Section("Every head, to turn with the mouse", _every_head(run, heads, items)),
        _section_of(run, "People the network has not seen", photographs={"reconstructions": _PEOPLE_CAPTION}),
        Section("By pose and distance", _by_place(run, tables)),
        Section("The loss without one of its terms", _ablation(run, tables[2])),
        Section("How sure the numbers are", _certainty(means, by_method)),
        Section("What holds accuracy back", table_of(_attribution_text(measurements.attribution), _ATTRIBUTION_NOTE)),
        Section("Landmarks on AFLW2000-3D", _aflw2000(run)),
        _section_of(
            run, "The training",
            charts={"curves": "Landmark loss, and landmark error on people that the network has not seen."},
            photographs={"training": "Photographs, the shape over them, another view's texture rendered, the mask."},
        ),
        _section_of(
            run, "The head model",
            photographs={
                "heads": "The mean, and people drawn from the model.",
                "cameras": "One head from fifteen cameras; below, the texture that three of them show, and all fused.",
            },
        ),
        Section("What failed, and the worst", _failures(measurements)),
    ]  # fmt: skip
    return build_page(verdict(measurements), first, main, sections, heads.script(), _MAIN_NOTE)


def _section_of(
    run: Run, title: str, charts: Mapping[str, str] | None = None, photographs: Mapping[str, str] | None = None
) -> Section:
    folder = run.reports / "figures"
    drawn = [chart(folder / f"{name}.png", caption) for name, caption in (charts or {}).items()]
    drawn += [photograph(folder / f"{name}.png", caption) for name, caption in (photographs or {}).items()]
    return Section(title, "".join(drawn))


def _items_with_heads(run: Run) -> list[WildItem | LabItem]:
    """The items whose heat meshes the stages have written, those of the wild set first."""
    items: list[WildItem | LabItem] = [*run.benchmark.wild(), *run.benchmark.lab()]
    return [item for item in items if (run.reports / "heat" / MFNET / heat_name(item)).is_file()]


def _photograph(item: WildItem | LabItem) -> str:
    place = "wild" if isinstance(item, WildItem) else "lab"
    return photograph(item.image, f"{place}, {item.stem}")


def _heads(run: Run, heads: Heads, item: WildItem | LabItem, methods: Sequence[str]) -> list[str]:
    paths = {name: run.reports / "heat" / name / heat_name(item) for name in methods}
    scores = {name: _cd_of(run, name, item) for name in methods}
    return [
        heads.canvas(read_heat_mesh(path), f"{label(name)}{scores[name]}")
        for name, path in paths.items()
        if path.is_file()
    ]


def _cd_of(run: Run, name: str, item: WildItem | LabItem) -> str:
    """ ", 2.31 mm": the mean distance of the head that is shown."""
    table = run.measurements.methods[name]
    wild = isinstance(item, WildItem)
    settings = ["wild"] if wild else ["three_view_own_size", "single_view_own_size"]
    rows = table[(table["stem"] == item.stem) & table["setting"].isin(settings)].dropna(subset="cd_mm")
    rows = rows.sort_values("setting", ascending=False)
    return f", {rows['cd_mm'].iloc[0]:.2f} mm" if len(rows) else ""


def _every_head(run: Run, heads: Heads, items: Sequence[WildItem | LabItem]) -> str:
    note = (
        f"<p class='note'>From blue, on the scan, to red, {HEAT_LIMIT_MM:.0f} mm and more from it; grey where the scan "
        "ends. In the lab from three views, at own size.</p>"
    )
    return note + "".join(pictures([_photograph(item), *_heads(run, heads, item, METHODS)]) for item in items)


def _by_place(run: Run, tables: Sequence[Table]) -> str:
    folder = run.reports / "figures"
    drawn = [
        chart(folder / "cd_by_bin.png", "CD of every wild photograph, and the means, by the head's yaw."),
        chart(folder / "cd_by_angle.png", "CD by the angle between face and camera; the lab at own size."),
        chart(folder / "cumulative.png", "The share of photographs below a CD."),
    ]
    return "".join([*drawn, *(numbered_table(tables[number]) for number in (0, 1, 3))])


def _ablation(run: Run, table: Table) -> str:
    ablation = run.measurements.ablation
    caption = "Landmark loss, and landmark error on people that no network has seen."
    curves = chart(run.reports / "figures" / "ablation_curves.png", caption)
    terms = ", ".join(f"{name}: {term.title} (equation {term.equation})" for name, term in TERMS.items())
    curves += f"<p class='note'>{html.escape(terms)}.</p>"
    if FULL not in ablation:
        return numbered_table(table) + curves
    differences = difference_table(ablation, FULL)[["method", "trainings", "wild"]]
    return numbered_table(table) + table_of(differences, _DIFFERENCES_NOTE.format(reference=label(FULL))) + curves


def _certainty(means: pd.DataFrame, by_method: Mapping[str, list[pd.DataFrame]]) -> str:
    differences = difference_table(by_method, MFNET)
    note = _DIFFERENCES_NOTE.format(reference=label(MFNET))
    return table_of(means.drop(columns="trainings"), _MEANS_NOTE) + table_of(
        differences.drop(columns="trainings"), note
    )


def _attribution_text(attribution: pd.DataFrame) -> pd.DataFrame:
    rows = attribution.map(lambda cell: f"{cell:.2f}" if isinstance(cell, float) else cell)
    headings = {name: name.removeprefix("cd_mm_") for name in rows.columns} | {"cd_mm": "CD", "strict_cd_mm": "strict"}
    return rows.rename(columns=headings)


def _aflw2000(run: Run) -> str:
    means = run.measurements.aflw2000
    cells = {
        name: "-" if values["nme_percent"] is None else f"{values['nme_percent']:.2f} ({values['n']})"
        for name, values in means.items()
    }
    caption = "Photographs, the shape from one view over them, true landmarks (green) and MFNet's (red)."
    picture = photograph(run.reports / "figures" / "aflw2000.png", caption)
    return table_of(pd.DataFrame([{"method": label(MFNET), **cells}]), _AFLW2000_NOTE) + picture


def _failures(measurements: Measurements) -> str:
    of_ablation = {label(name): averaged(tables) for name, tables in measurements.ablation.items()}
    lacking = failures({label(name): table for name, table in measurements.methods.items()} | of_ablation)
    note = "There are none." if lacking.empty else "What an item lacks is in no mean."
    worst = worst_images(measurements.methods[MFNET])
    return table_of(lacking, note) + f"<h2>Where {label(MFNET)} is worst</h2>" + table_of(worst)


def write_tables_of(measurements: Measurements, tables: Sequence[Table], folder: Path) -> None:
    """Write the numbered tables, and means, differences and failures of methods and of the ablation's variants."""
    write_tables(tables, folder)
    by_method = {name: [table] for name, table in measurements.methods.items()}
    means = {"means": by_method, "ablation_means": measurements.ablation}
    differences = {"differences": (by_method, MFNET), "ablation_differences": (measurements.ablation, FULL)}
    for name, scores in means.items():
        mean_table(scores).to_csv(folder / f"{name}.csv", index=False)
    for name, (scores, reference) in differences.items():
        if reference in scores:
            difference_table(scores, reference).to_csv(folder / f"{name}.csv", index=False)
    of_ablation = {name: averaged(tables) for name, tables in measurements.ablation.items()}
    failures(measurements.methods | of_ablation).to_csv(folder / "failures.csv", index=False)
