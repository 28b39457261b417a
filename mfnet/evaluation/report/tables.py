"""The paper's three tables and the benchmark's groups of the lab: what is measured here beside the published rows.

What the paper prints of others differs in places from the benchmark's own published per-image files, so both are shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mfnet.data.facescape import BINS, LAB_FOCALS
from mfnet.evaluation.benchmark import ANGLE_VIEWS, OWN_SIZE
from mfnet.evaluation.methods.registry import METHODS, ONE_VIEW, ORACLE_FIT, label
from mfnet.evaluation.protocol.scores import METRICS
from mfnet.evaluation.report.measurements import Measurements
from mfnet.evaluation.statistics.summary import averaged, group_means
from mfnet.evaluation.statistics.uncertainty import decided_best, rows_of
from mfnet.loss_terms import FULL

_HEADINGS = {"cd_mm": "CD", "mne_rad": "MNE", "completeness": "CR"}
_SMALLER_IS_BETTER = {"cd_mm": True, "mne_rad": True, "completeness": False}
_DIGITS = {"cd_mm": 2, "mne_rad": 3, "completeness": 3}
_DONE = "done_rate"
# Of a group's items: whose mean is over fewer is compared with nothing.
_NEARLY_ALL = 0.95
# What is fitted has seen what it is judged by, and is compared with nothing.
MEASURED, FITTED = "measured here", "fitted to the scans"
PUBLISHED, FILES = "published, real data", "FaceScape's files, real data"
_PUBLISHED_SOURCES = {"paper": PUBLISHED, "files": FILES}
_VIEWS = {"three_view": ", three views", "single_view": ", one view"}

Place = Callable[[pd.DataFrame], pd.DataFrame]


def _where(column: str, value: object) -> Place:
    return lambda rows: rows[rows[column] == value]


def _at_angle(views: Sequence[int]) -> Place:
    # The benchmark's groups by angle are of the photographs with the longest focal length alone.
    return lambda rows: rows[(rows["focal"] == LAB_FOCALS[0]) & rows["view"].isin(views)]


_BINS = {name: _where("bin", name) for name in BINS}
_GROUPS = {f"f{focal}": _where("focal", focal) for focal in LAB_FOCALS} | {
    f"{angle} deg": _at_angle(views) for angle, views in ANGLE_VIEWS.items()
}
_ALL: dict[str, Place] = {"": lambda rows: rows}


class _Row(NamedTuple):
    """A method in one setting: the scores of its trainings there."""

    source: str
    label: str
    trainings: Sequence[pd.DataFrame]


class Table(NamedTuple):
    """One table; 1 to 3 are the paper's.

    rows: source, method and, per place, the metrics and the share of items that they are means over, NaN where that is
        not known.
    best: (row, column) of figures that are better than every other measured one by more than chance.
    """

    number: int
    caption: str
    rows: pd.DataFrame
    best: frozenset[tuple[int, str]] = frozenset()


def published() -> pd.DataFrame:
    """What others have published: source, table, method, setting, the three metrics and the share of items with a CD.

    Source `paper`: as "FLAME-based Multi-View 3D Face Reconstruction" prints it, which gives no such share. `files`:
    means of the FaceScape benchmark's own per-image results; items that a file leaves out count as not done. The shares
    by angle are those with which the means by angle come to the mean of the focal length.
    """
    return pd.read_csv(StringIO(files("mfnet.evaluation.report").joinpath("published.csv").read_text()))


def build_tables(measurements: Measurements, other_settings: Mapping[str, tuple[object, object]]) -> list[Table]:
    """Tables 1 (wild, one view), 2 (lab, three views and one), 3 (ablation) and 4 (lab by focal length and angle).

    Args:
        measurements: of a complete run.
        other_settings: of the loss, name -> its value in the ablation and for MFNet, where the two differ.
    """
    methods, ablation = measurements.methods, measurements.ablation
    wild = [_Row(_source(name), label(name), rows_of([methods[name]], "wild")) for name in METHODS]
    lab = [
        _Row(
            _source(name) + size, label(name) + views * (name not in ONE_VIEW), rows_of([methods[name]], setting + own)
        )
        for own, size in ((OWN_SIZE, ", own size"), ("", ""))
        for name in METHODS
        for setting, views in _VIEWS.items()
        if (methods[name]["setting"] == setting + own).any()
    ]
    order = sorted(ablation, key=lambda variant: variant == FULL)
    without = [_Row(MEASURED, label(name), rows_of(ablation[name], "wild")) for name in order]
    own = "own size: not scaled to three pupil distances as FaceScape's loaders scale heads in the lab"
    split = f"FaceScape lab by focal length (pixels), and at {LAB_FOCALS[0]} by angle"
    return [
        _table(1, "FaceScape wild, one view, by pose bin (degrees)", wild, _BINS),
        _table(2, f"FaceScape lab; {own}", lab, _ALL),
        _table(3, _ablation_caption(ablation, other_settings), without, _BINS),
        _table(4, f"{split}; {own}", lab, _GROUPS),
    ]


def _ablation_caption(
    ablation: Mapping[str, Sequence[pd.DataFrame]], other_settings: Mapping[str, tuple[object, object]]
) -> str:
    caption = "Ablation of the loss, FaceScape wild, one view, by pose bin (degrees)"
    n_trainings = len(next(iter(ablation.values())))
    if n_trainings > 1:
        caption += f"; means over {n_trainings} trainings"
    if other_settings:
        named = ", ".join(
            f"{name} {ablation_s} for {mfnet_s}" for name, (ablation_s, mfnet_s) in other_settings.items()
        )
        caption += f"; its loss is other than MFNet's: {named}"
    return caption


def _source(name: str) -> str:
    return FITTED if name == ORACLE_FIT else MEASURED


def _table(number: int, caption: str, measured: Sequence[_Row], places: Mapping[str, Place]) -> Table:
    """A table with a column per place and metric, of what is measured and of what is published under its number."""
    names = (*METRICS, _DONE)
    cells = [{"source": row.source, "method": row.label} | _cells(averaged(row.trainings), places) for row in measured]
    known = published()
    for (source, method), group in known[known["table"] == number].groupby(["source", "method"], sort=False):
        values = {str(row["setting"]).replace("lab", ""): row for row in group.to_dict("records")}
        cells.append(
            {"source": _PUBLISHED_SOURCES[source], "method": label(method)}
            | {f"{place} {name}".strip(): values[place][name] for place in places for name in names}
        )
    return Table(number, caption, pd.DataFrame(cells), frozenset(_best(measured, places)))


def _cells(scores: pd.DataFrame, places: Mapping[str, Place]) -> dict[str, float | None]:
    means = {place: group_means(rows(scores)) for place, rows in places.items()}
    return {f"{place} {name}".strip(): means[place][name] for place in places for name in (*METRICS, _DONE)}


def _best(measured: Sequence[_Row], places: Mapping[str, Place]) -> list[tuple[int, str]]:
    best = []
    for place, rows in places.items():
        for source in {row.source for row in measured}:
            ranked = {
                k: [rows(table) for table in row.trainings] for k, row in enumerate(measured) if row.source == source
            }
            ranked = {
                k: tables for k, tables in ranked.items() if not source.startswith(FITTED) and _nearly_all(tables)
            }
            for metric in METRICS:
                first = decided_best(list(ranked.values()), metric, _SMALLER_IS_BETTER[metric])
                if first is not None:
                    best.append((list(ranked)[first], f"{place} {metric}".strip()))
    return best


def _nearly_all(tables: Sequence[pd.DataFrame]) -> bool:
    return all(len(table) and table["cd_mm"].notna().mean() >= _NEARLY_ALL for table in tables)


def _heading(column: str) -> str:
    place, _, metric = column.rpartition(" ")
    return f"{place} {_HEADINGS[metric]}".strip() if metric in _HEADINGS else column


def formatted(table: Table) -> pd.DataFrame:
    """The table's cells as text; what is better than all others measured here, by more than chance, in asterisks.

    Behind a CD that is not of all items is the share that it is of.
    """
    text = table.rows.astype(object).copy()
    for column in (name for name in table.rows.columns[2:] if not name.endswith(_DONE)):
        place, _, metric = column.rpartition(" ")
        done = pd.to_numeric(table.rows[f"{place} {_DONE}".strip()])
        for index, value in pd.to_numeric(table.rows[column]).items():
            cell = "-" if math.isnan(value) else f"{value:.{_DIGITS[metric]}f}"
            if metric == "cd_mm" and done[index] < 1 and cell != "-":
                cell += f" ({min(done[index], 0.99):.0%})"
            text.at[index, column] = f"**{cell}**" if (index, column) in table.best else cell
    columns = [name for name in text.columns if not name.endswith(_DONE)]
    return text[columns].rename(columns=_heading)


def to_markdown(table: Table) -> str:
    """The table as Markdown with its caption."""
    text = formatted(table)
    units = "CD in mm, in brackets the share of items done where it is not all; MNE in rad; CR as a ratio"
    bold = "Bold: better than every other one measured here, by more than chance"
    lines = [f"**Table {table.number}.** {table.caption}. {units}. {bold}.", ""]
    lines += ["| " + " | ".join(text.columns) + " |", "|" + "---|" * len(text.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in text.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def worst_images(per_image: pd.DataFrame, count: int = 10) -> pd.DataFrame:
    """The images a method fails on, those without a score first, then by CD."""
    order = per_image["cd_mm"].fillna(math.inf).sort_values(ascending=False, kind="stable").index[:count]
    worst = per_image.loc[order, ["setting", "stem", "person", *METRICS, "failure"]].fillna({"failure": ""})
    return worst.round(_DIGITS).rename(columns=_HEADINGS)


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Write `<folder>/<number>.{md,csv}`."""
    for table in tables:
        (folder / f"{table.number}.md").write_text(to_markdown(table))
        table.rows.to_csv(folder / f"{table.number}.csv", index=False, float_format="%.6f")
