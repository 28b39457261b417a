"""The paper's three tables: what this machine measured, beside the published rows, never ranked together."""

from __future__ import annotations

import math
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mfnet.data.facescape import BINS
from mfnet.errors import UserError

METRICS = ("cd_mm", "mne_rad", "completeness")
_HEADINGS = {"cd_mm": "CD", "mne_rad": "MNE", "completeness": "CR"}
_SMALLER_IS_BETTER = {"cd_mm": True, "mne_rad": True, "completeness": False}
_DIGITS = {"cd_mm": 2, "mne_rad": 3, "completeness": 3}
REFINED = "refined"
MEAN_HEAD, LANDMARK_FIT, ORACLE_FIT = BASELINES = ("mean_head", "landmark_fit", "oracle_fit")
# The oracle has seen what it is judged by, and stands in no ranking.
PUBLISHED, MEASURED, FITTED = "published, real data", "measured here", "fitted to the scans"
_LABELS = {
    "full": "MFNet",
    REFINED: "MFNet, refined",
    "mean_head": "mean head",
    "landmark_fit": "landmark fit",
    "oracle_fit": "oracle fit",
} | {f"no_{name}": f"- {name}" for name in ("multiop", "singlelmk", "eye", "lip", "reg")}


class Table(NamedTuple):
    """One of the paper's tables: number, caption and rows with the columns source, method and one per figure."""

    number: int
    caption: str
    rows: pd.DataFrame


def published() -> pd.DataFrame:
    """The paper's printed figures: table, method, setting and the three metrics."""
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
    """Tables 1 (wild, one view), 2 (lab, three views and one) and 3 (ablation).

    Args:
        metrics: method -> what `mfnet.evaluation.benchmark.summarise` gave.
        variants: of the ablation.
        n_trainings: of each variant, over which its figures are means; the caption says so.
    """
    printed = published()
    wild = [_wild_row(metrics, name) for name in ("full", REFINED, *BASELINES) if name in metrics]
    wild += _published_wild(printed[printed["table"] == 1])
    lab = []
    for name in ("full", REFINED, *BASELINES):
        for setting, views in (("three_view", ", three views"), ("single_view", ", one view")):
            if setting in metrics.get(name, {}).get("lab", {}):
                values = metrics[name]["lab"][setting]
                figures = {metric: values[metric] for metric in METRICS}
                label = _LABELS[name] + (views if name != ORACLE_FIT else "")
                lab.append({"source": _source(name), "method": label, **figures})
    for row in printed[printed["table"] == 2].to_dict("records"):
        lab.append({"source": PUBLISHED, "method": row["method"], **{m: row[m] for m in METRICS}})
    order = [variant for variant in variants if variant != "full"] + ["full"] * ("full" in variants)
    ablation = [_wild_row(metrics, name) for name in order]
    ablation += _published_wild(printed[printed["table"] == 3])
    captions = (
        "FaceScape wild, one view, by pose bin (degrees)",
        "FaceScape lab; refined and landmark fit before the known pinholes",
        "Ablation of the loss, FaceScape wild, one view, by pose bin (degrees)",
    )
    means = f"; what is trained here: means over {n_trainings} trainings" if n_trainings > 1 else ""
    rows = zip(captions, (wild, lab, ablation), strict=True)
    return [Table(number, caption + means, pd.DataFrame(found)) for number, (caption, found) in enumerate(rows, 1)]


def _source(name: str) -> str:
    return FITTED if name == ORACLE_FIT else MEASURED


def _wild_row(metrics: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    row: dict[str, Any] = {"source": _source(name), "method": _LABELS[name]}
    for place in BINS:
        row |= {f"{place} {metric}": metrics[name]["wild"][place][metric] for metric in METRICS}
    return row


def _published_wild(printed: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for method, group in printed.groupby("method", sort=False):
        row: dict[str, Any] = {"source": PUBLISHED, "method": _LABELS.get(str(method), method)}
        for values in group.to_dict("records"):
            row |= {f"{values['setting']} {metric}": values[metric] for metric in METRICS}
        rows.append(row)
    return rows


def _heading(column: str) -> str:
    place, _, metric = column.rpartition(" ")
    return f"{place} {_HEADINGS[metric]}".strip() if metric in _HEADINGS else column


def formatted(table: Table) -> pd.DataFrame:
    """The table's cells as text; the best figures of each source, as they are read, in asterisks."""
    text = table.rows.astype(object).copy()
    for column in table.rows.columns[2:]:
        metric = column.rpartition(" ")[2]
        for _, group in table.rows.groupby("source"):
            values = pd.to_numeric(group[column])
            best = values.min() if _SMALLER_IS_BETTER[metric] else values.max()
            for index, value in values.items():
                cell, highest = (f"{figure:.{_DIGITS[metric]}f}" for figure in (value, best))
                # As they are read: what only further digits tell apart is no difference.
                is_best = cell == highest and len(group) > 1
                text.at[index, column] = "-" if math.isnan(value) else f"**{cell}**" if is_best else cell
    return text.rename(columns=_heading)


def to_markdown(table: Table) -> str:
    """The table as Markdown with its caption."""
    text = formatted(table)
    lines = [f"**Table {table.number}.** {table.caption}. CD in mm, MNE in rad, CR as a ratio.", ""]
    lines += ["| " + " | ".join(text.columns) + " |", "|" + "---|" * len(text.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in text.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def worst_images(per_image: pd.DataFrame, count: int = 10) -> pd.DataFrame:
    """The images a method fails on, those without a score first, then by CD."""
    order = per_image["cd_mm"].fillna(math.inf).sort_values(ascending=False, kind="stable").index[:count]
    worst = per_image.loc[order, ["setting", "stem", "person", *METRICS]]
    return worst.round(_DIGITS).rename(columns=_HEADINGS)


def write_tables(tables: list[Table], folder: Path) -> None:
    """Write `<folder>/{1,2,3}.{md,csv}`."""
    for table in tables:
        (folder / f"{table.number}.md").write_text(to_markdown(table))
        table.rows.to_csv(folder / f"{table.number}.csv", index=False, float_format="%.6f")
