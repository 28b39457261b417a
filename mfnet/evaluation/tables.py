"""The paper's three tables and the benchmark's groups of the lab: what is measured here beside the published rows.

Each source is ranked by itself. What the paper prints of others differs in places from the benchmark's own published
per-image files, so both are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mfnet.data.facescape import BINS, LAB_FOCALS
from mfnet.errors import UserError
from mfnet.evaluation.baselines import BASELINES, LANDMARK_FIT, MEAN_HEAD, ORACLE_FIT
from mfnet.evaluation.benchmark import ANGLE_VIEWS, OWN_SIZE
from mfnet.evaluation.facescape import METRICS

_HEADINGS = {"cd_mm": "CD", "mne_rad": "MNE", "completeness": "CR"}
_SMALLER_IS_BETTER = {"cd_mm": True, "mne_rad": True, "completeness": False}
_DIGITS = {"cd_mm": 2, "mne_rad": 3, "completeness": 3}
_DONE = "done_rate"
# Of a group's items: whose mean is over fewer is not the best of a column, which is over all of them.
_NEARLY_ALL = 0.95
REFINED = "refined"
# What is fitted has seen what it is judged by, and stands in no ranking.
MEASURED, FITTED = "measured here", "fitted to the scans"
PUBLISHED, FILES = "published, real data", "FaceScape's files, real data"
_PUBLISHED_SOURCES = {"paper": PUBLISHED, "files": FILES}
_LABELS = {
    "full": "MFNet",
    MEAN_HEAD: "mean head",
    LANDMARK_FIT: "landmark fit",
    ORACLE_FIT: "oracle fit",
} | {f"no_{name}": f"- {name}" for name in ("multiop", "singlelmk", "eye", "lip", "reg")}
_VIEWS = {"three_view": ", three views", "single_view": ", one view"}
_GROUPS = {f"f{focal}": ("by_focal", str(focal)) for focal in LAB_FOCALS} | {
    f"{angle} deg": ("by_angle", angle) for angle in ANGLE_VIEWS
}


class Table(NamedTuple):
    """Number, caption and rows with the columns source, method and, per place, the metrics and the share of items that
    they are means over, NaN where that is not known; 1 to 3 are the paper's."""

    number: int
    caption: str
    rows: pd.DataFrame


def published() -> pd.DataFrame:
    """What others have published: source, table, method, setting, the three metrics and the share of items with a CD.

    Source `paper`: as "FLAME-based Multi-View 3D Face Reconstruction" prints it, which gives no such share. `files`:
    means of the FaceScape benchmark's own per-image results; items that a file leaves out count as not done. The shares
    by angle are those with which the means by angle come to the mean of the focal length.
    """
    return pd.read_csv(StringIO(files("mfnet.evaluation").joinpath("published.csv").read_text()))


def merged_metrics(metrics: dict[str, dict[str, Any]], variants: list[str]) -> dict[str, Any]:
    """`reports/metrics.json`: a section per variant and for `refined`, and the baselines under `baselines`."""
    missing = [variant for variant in variants if variant not in metrics]
    if missing:
        raise UserError(f"report: reports/per_image/{missing[0]}.csv is missing; run evaluate@{missing[0]}")
    baselines = {name: values for name, values in metrics.items() if name in BASELINES}
    trained = [*variants, *({REFINED} & metrics.keys())]
    return {name: metrics[name] for name in trained} | {"baselines": baselines}


def build_tables(metrics: dict[str, dict[str, Any]], variants: list[str], n_trainings: int = 1) -> list[Table]:
    """Tables 1 (wild, one view), 2 (lab, three views and one), 3 (ablation) and 4 (lab by focal length and angle).

    Args:
        metrics: method -> what `mfnet.evaluation.benchmark.summarise` gave.
        variants: of the ablation; the first one is shown as MFNet in the others.
        n_trainings: of each variant, over which its figures are means; the captions say so.
    """
    first = variants[0]
    shown = [name for name in (first, REFINED, *BASELINES) if name in metrics]
    ablation = [variant for variant in variants if variant != "full"] + ["full"] * ("full" in variants)
    lab = [
        (_source(name) + size, _label(name, first) + views * (name != ORACLE_FIT), metrics[name]["lab"][setting + own])
        for own, size in (("", ""), (OWN_SIZE, ", own size"))
        for name in shown
        for setting, views in _VIEWS.items()
        if setting + own in metrics[name]["lab"]
    ]
    groups = [
        (source, label, {name: values[by][key] for name, (by, key) in _GROUPS.items()}) for source, label, values in lab
    ]
    wild = [(_source(name), _label(name, first), metrics[name]["wild"]) for name in shown]
    without = [(_source(name), _LABELS[name], metrics[name]["wild"]) for name in ablation]
    own = "own size: not scaled to three pupil distances as FaceScape's loaders scale heads in the lab"
    several = n_trainings > 1
    means = f"; MFNet and its variants: means over {n_trainings} trainings" if several else ""
    of_first = f"{means}, the refined MFNet: of the first" if several and REFINED in metrics else means
    whole = [(source, label, {"lab": values}) for source, label, values in lab]
    split = f"FaceScape lab by focal length (pixels), and at {LAB_FOCALS[0]} by angle"
    return [
        _table(1, "FaceScape wild, one view, by pose bin (degrees)" + of_first, wild, BINS),
        _table(2, f"FaceScape lab; {own}{of_first}", whole, ("lab",)),
        _table(3, "Ablation of the loss, FaceScape wild, one view, by pose bin (degrees)" + means, without, BINS),
        _table(4, f"{split}; {own}{of_first}", groups, _GROUPS),
    ]


def _table(number: int, caption: str, measured: Iterable[tuple[str, str, dict]], places: Iterable[str]) -> Table:
    """A table with a column per place and metric, of what is measured and of what is published under its number."""
    rows = [(source, label, {place: values[place] for place in places}) for source, label, values in measured]
    known = published()
    for (source, method), group in known[known["table"] == number].groupby(["source", "method"], sort=False):
        values = {row["setting"]: row for row in group.to_dict("records")}
        rows.append((_PUBLISHED_SOURCES[source], _LABELS.get(method, method), values))
    names = (*METRICS, _DONE)
    cells = [
        {"source": source, "method": label}
        | {f"{place} {name}".removeprefix("lab "): values[place][name] for place in places for name in names}
        for source, label, values in rows
    ]
    return Table(number, caption, pd.DataFrame(cells))


def _source(name: str) -> str:
    return FITTED if name == ORACLE_FIT else MEASURED


def _label(name: str, first: str) -> str:
    ours = "MFNet" if first == "full" else f"MFNet {_LABELS[first]}"
    return {first: ours, REFINED: f"{ours}, refined"}.get(name) or _LABELS[name]


def label_of(name: str) -> str:
    """What a variant or method is called in documents, and what follows a comma; itself where it has no other name."""
    name, *rest = name.split(", ")
    return ", ".join([{REFINED: f"{_LABELS['full']}, refined"}.get(name) or _LABELS.get(name, name), *rest])


def _heading(column: str) -> str:
    place, _, metric = column.rpartition(" ")
    return f"{place} {_HEADINGS[metric]}".strip() if metric in _HEADINGS else column


def formatted(table: Table) -> pd.DataFrame:
    """The table's cells as text; the best figures of each source, as they are read, in asterisks.

    Behind a CD that is not of all items is the share that it is of.
    """
    rows, text = table.rows, table.rows.astype(object).copy()
    for column in (name for name in rows.columns[2:] if not name.endswith(_DONE)):
        place, _, metric = column.rpartition(" ")
        done = pd.to_numeric(rows[f"{place} {_DONE}".strip()])
        for source, group in rows.groupby("source"):
            values = pd.to_numeric(group[column])
            in_a_ranking = len(group) > 1 and not str(source).startswith(FITTED)
            ranked = values[~(done[group.index] < _NEARLY_ALL) & in_a_ranking]
            best = ranked.min() if _SMALLER_IS_BETTER[metric] else ranked.max()
            for index, value in values.items():
                cell, highest = (f"{figure:.{_DIGITS[metric]}f}" for figure in (value, best))
                # As they are read: what only further digits tell apart is no difference.
                is_best = index in ranked.index and cell == highest
                if metric == "cd_mm" and done[index] < 1:
                    cell += f" ({min(done[index], 0.99):.0%})"
                text.at[index, column] = "-" if math.isnan(value) else f"**{cell}**" if is_best else cell
    shown = [name for name in text.columns if not name.endswith(_DONE)]
    return text[shown].rename(columns=_heading)


def to_markdown(table: Table) -> str:
    """The table as Markdown with its caption."""
    text = formatted(table)
    units = "CD in mm, in brackets the share of items done where it is not all; MNE in rad; CR as a ratio"
    lines = [f"**Table {table.number}.** {table.caption}. {units}.", ""]
    lines += ["| " + " | ".join(text.columns) + " |", "|" + "---|" * len(text.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in text.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def worst_images(per_image: pd.DataFrame, count: int = 10) -> pd.DataFrame:
    """The images a method fails on, those without a score first, then by CD."""
    order = per_image["cd_mm"].fillna(math.inf).sort_values(ascending=False, kind="stable").index[:count]
    worst = per_image.loc[order, ["setting", "stem", "person", *METRICS, "failure"]].fillna({"failure": ""})
    return worst.round(_DIGITS).rename(columns=_HEADINGS)


def write_tables(tables: list[Table], folder: Path) -> None:
    """Write `<folder>/<number>.{md,csv}`."""
    for table in tables:
        (folder / f"{table.number}.md").write_text(to_markdown(table))
        table.rows.to_csv(folder / f"{table.number}.csv", index=False, float_format="%.6f")
