"""Tables in Markdown documents, written between two comments from what a run has measured: they are never typed.

A block begins with `<!-- table NAME -->` and ends with `<!-- end -->`, each on a line of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mfnet.data.facescape import BINS
from mfnet.errors import UserError
from mfnet.evaluation.methods.registry import MFNET, label
from mfnet.evaluation.report.tables import published

_BLOCK = re.compile(r"(?P<begin><!-- table (?P<name>[\w-]+) -->\n)(?P<table>.*?)(?P<end><!-- end -->)", re.DOTALL)
_BEGIN = "<!-- table "
# Columns of the table of means that the documents show.
_PLACES = {
    "wild": "wild",
    "lab, three views, own size": "lab, three views",
    "lab, one view, own size": "lab, one view",
    "wild, reporting half": "wild, reporting half",
    "lab, three views, own size, reporting half": "lab, three views, reporting half",
}
_LAB = {
    name: name
    for name in ("lab, three views", "lab, three views, own size", "lab, one view", "lab, one view, own size")
}
# Of people: years and skin tones (0 light, 1 dark) that the shares are counted in.
_YEARS = ((18, 39), (39, 60), (60, 81))
_TONES = {"light": (0.0, 0.33), "medium": (0.33, 0.67), "dark": (0.67, 1.01)}
_ANCESTRIES = ("african", "asian", "european")


def run_tables(reports: Path, people: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Every table that a document may ask for, name -> Markdown.

    Args:
        reports: the folder that a complete run has filled.
        people: set -> what its people.csv holds.

    Raises:
        UserError: the run has left something out.
    """
    scores = json.loads(_there(reports / "scores.json").read_text())
    csv = {
        name: pd.read_csv(_there(reports / f"tables/{name}.csv")) for name in ("means", "differences", "ablation_means")
    }
    # An ablation without the full loss has nothing to be compared with.
    compared = reports / "tables/ablation_differences.csv"
    none = pd.DataFrame(columns=["method", "trainings", "wild"])
    csv["ablation_differences"] = pd.read_csv(compared) if compared.is_file() else none
    return {f"table-{number}": _there(reports / f"tables/{number}.md").read_text() for number in (1, 2, 3, 4)} | {
        "headline": headline(csv["means"], _PLACES),
        "lab": headline(csv["means"], _LAB),
        "by-bin": markdown(csv["ablation_means"][["method", "wild", *(f"wild {name}" for name in BINS)]]),
        "differences": markdown(csv["differences"].drop(columns="trainings")),
        "ablation-differences": markdown(csv["ablation_differences"][["method", "trainings", "wild"]]),
        "attribution": attribution(pd.read_csv(_there(reports / "attribution.csv"))),
        "landmarks": landmark_errors(scores),
        "aflw2000": aflw2000(scores[MFNET]["aflw2000"]),
        "people": people_shares(people),
    }


def _there(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"tables: no file at {path}; run make repro first")
    return path


def fill(text: str, tables: Mapping[str, str], where: str) -> str:
    """The text with every block's table in place of what stood there.

    Args:
        text: of a Markdown document.
        tables: name -> Markdown.
        where: the document's name, for errors.

    Raises:
        UserError: a block names no table, or does not end.
    """

    def replaced(block: re.Match[str]) -> str:
        if block["name"] not in tables:
            raise UserError(
                f"{where}: there is no table '{block['name']}'; expected one of {', '.join(sorted(tables))}"
            )
        if _BEGIN in block["table"]:
            raise UserError(f"{where}: the block of table '{block['name']}' has no <!-- end -->")
        return f"{block['begin']}\n{tables[block['name']].strip()}\n\n{block['end']}"

    filled, count = _BLOCK.subn(replaced, text)
    if count != text.count(_BEGIN):
        raise UserError(f"{where}: a block has no <!-- end -->; expected one after every table")
    return filled


def markdown(rows: pd.DataFrame) -> str:
    """A table of text and numbers as Markdown; what is missing is a dash."""
    text = rows.astype(object).where(rows.notna(), "-")
    lines = ["| " + " | ".join(map(str, rows.columns)) + " |", "|" + "---|" * len(rows.columns)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in text.itertuples(index=False)])


def headline(means: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """Every method's CD with its interval, and the paper's own.

    Args:
        means: of `mfnet.evaluation.statistics.uncertainty.mean_table`.
        columns: of the means, those that are shown -> their headings.
    """
    rows = means[["method", *columns]].to_numpy().tolist()
    paper = published().query("source == 'paper' and method == 'MFNet'")
    known = {
        "wild": paper.query("table == 1")["cd_mm"].mean(),
        "lab, three views": paper.query("table == 2")["cd_mm"].iloc[0],
    }
    of_bins = " (wild: mean of its bins)" if "wild" in columns else ""
    figures = [f"{known[name]:.2f}" if name in known else "-" for name in columns]
    rows.append([f"the paper's MFNet, real people{of_bins}", *figures])
    return markdown(pd.DataFrame(rows, columns=["", *columns.values()]))


def landmark_errors(scores: Mapping[str, Any]) -> str:
    """Landmarks of held-out people against the exact ones, per cent of the outer-eye distance, from scores.json."""
    errors = {label(MFNET): scores[MFNET]} | {label(name): values for name, values in scores["ablation"].items()}
    cells = [f"{100 * values['landmark_error']:.2f} %" for values in errors.values()]
    return markdown(pd.DataFrame([cells], columns=list(errors)))


def aflw2000(metrics: Mapping[str, Mapping[str, float | None]]) -> str:
    """Mean landmark error on AFLW2000-3D by yaw, per cent of the box."""
    bins = [name for name in metrics if name != "mean"]
    errors = [metrics[name]["nme_percent"] for name in (*bins, "mean")]
    row = ["-" if error is None else f"{error:.2f}" for error in errors]
    return markdown(pd.DataFrame([[f"{label(MFNET)}, one view", *row]], columns=["method", *bins, "mean"]))


def people_shares(people: Mapping[str, pd.DataFrame]) -> str:
    """Who the people of each set are: shares by sex, age, largest ancestry and skin tone; from people.csv's columns."""
    rows = []
    for name, of_set in people.items():
        european = 1 - of_set["african"] - of_set["asian"]
        largest = of_set[["african", "asian"]].assign(european=european).idxmax(axis=1)
        shares = {"women": (of_set["female"] > 0.5).mean()}
        shares |= {f"{low}-{high - 1} years": of_set["age"].between(low, high, "left").mean() for low, high in _YEARS}
        shares |= {ancestry: (largest == ancestry).mean() for ancestry in _ANCESTRIES}
        shares |= {f"{tone} skin": of_set["tone"].between(*ends, "left").mean() for tone, ends in _TONES.items()}
        rows.append({"set": name, "people": len(of_set)} | {key: f"{share:.0%}" for key, share in shares.items()})
    return markdown(pd.DataFrame(rows))


def attribution(rows: pd.DataFrame) -> str:
    """What holds accuracy back, from `mfnet.evaluation.attribution`: CD in mm, its interval, and by focal length."""
    table = rows.drop(columns="n").rename(columns=lambda name: name.removeprefix("cd_mm_"))
    table = table.rename(columns={"cd_mm": "CD", "strict_cd_mm": "strict CD"})
    numbers = table.select_dtypes("number").columns
    return markdown(table.assign(**{name: table[name].map("{:.2f}".format) for name in numbers}))
