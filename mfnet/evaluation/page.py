"""reports/index.html: tables, figures and training pictures in one file that opens offline."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mfnet.evaluation.tables import Table, formatted

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; color: #222 }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ccc }
table { border-collapse: collapse; font-size: 13px } td, th { padding: 3px 8px; text-align: right }
td:nth-child(-n+2), th:nth-child(-n+2) { text-align: left } tr:nth-child(even) { background: #f5f5f5 }
tr.measured { background: #e8f1fb } img { max-width: 100% } figure { margin: 1em 0 }
iframe { width: 100%; height: 720px; border: 1px solid #ccc } .scroll { overflow-x: auto }
figcaption, .scroll + p, iframe + p { color: #555; font-size: 13px }
"""


class Section(NamedTuple):
    """A table of its own: heading, rows as they are to be read, and a note below."""

    title: str
    rows: pd.DataFrame
    note: str


def build_page(
    tables: list[Table],
    sections: list[Section],
    figures: list[tuple[Path, str]],
    turning: tuple[str, str],
    facts: dict[str, Any],
    notes: list[str],
) -> str:
    """The page as text.

    Args:
        tables: of `mfnet.evaluation.tables.build_tables`.
        sections: what else is told in rows.
        figures: picture files and their captions.
        turning: of `mfnet.evaluation.turntable.turntable`, and its caption.
        facts: what is measured in one number, name -> text.
        notes: paragraphs below the title.
    """
    parts = ["<!doctype html><html lang='en'><head><meta charset='utf-8'><title>MFNet</title>"]
    parts.append(f"<style>{_STYLE}</style></head><body><h1>MFNet: multi-view head reconstruction</h1>")
    parts += [f"<p>{html.escape(note)}</p>" for note in notes]
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>" for k, v in facts.items())
    parts.append(f"<h2>At a glance</h2><table>{rows}</table>")
    parts += [_table(table) for table in tables]
    parts += [_section(section) for section in sections]
    parts.append("<h2>Figures</h2>")
    parts += [_figure(path, caption) for path, caption in figures]
    viewer, caption = turning
    parts.append(f"<h2>To turn with the mouse</h2><iframe srcdoc='{html.escape(viewer)}'></iframe>")
    parts.append(f"<p>{html.escape(caption)}</p>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _table(table: Table) -> str:
    text = formatted(table)
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in text.columns)
    body = []
    for row in text.itertuples(index=False):
        cells = "".join(f"<td>{_bold(str(cell))}</td>" for cell in row)
        kind = "measured" if str(row[0]).startswith("measured") else "published"
        body.append(f"<tr class='{kind}'>{cells}</tr>")
    caption = f"<h2>Table {table.number}. {html.escape(table.caption)}</h2>"
    note = (
        "<p>CD in mm, in brackets the share of items that it is a mean over where that is not all; MNE in rad, CR as a "
        "ratio. Bold: best of its source over nearly all items, whether or not that is decided (below). "
        "Published rows are of FaceScape's photographs of real people and not comparable with those measured here: as "
        "the paper prints them, and as the means of the benchmark's own per-image files, which differ in places.</p>"
    )
    return f"{caption}<div class='scroll'><table><tr>{head}</tr>{''.join(body)}</table></div>{note}"


def differences_section(differences: pd.DataFrame, reference: str) -> Section:
    """What `difference_table` gave, beside the method that the others are compared with."""
    note = (
        f"CD minus that of {reference} over the same images, mm, with the 95% interval and the number of people it "
        "rests on; in the lab by the loaders' rule. A method without three views is compared, from its one, with the "
        "reference's three, and so is the reference itself from one view. Of several trainings with different seeds "
        "the spread between them is in the interval; of one it cannot be."
    )
    return Section("What the differences are worth", differences, note)


def means_section(means: pd.DataFrame) -> Section:
    """What `mean_table` gave."""
    note = (
        "CD, mm, with the number of people it rests on and the 95% interval of what it would be over all such people, "
        "and all seeds where there are several trainings. It is Student's, between people: over few of "
        "them a bootstrap's is too short."
    )
    return Section("What the means are worth", means, note)


def failures_section(failures: pd.DataFrame) -> Section:
    """What `mfnet.evaluation.benchmark.failures` gave."""
    note = (
        "What an item lacks is in no mean. The tables have the share of items with a CD behind it where that is not "
        "all, metrics.json beside all of them, as done_rate."
    )
    return Section("Items that lack a figure", failures, "There are none." if failures.empty else note)


def attribution_section(attribution: pd.DataFrame, method: str) -> Section:
    """What `attribution` gave for a method's three views of the lab."""
    note = (
        f"Lab CD of {method} (its first training) from three views, mm, with the 95% interval over people. As it is: "
        "scaled orthography, and three pupil distances high as FaceScape's loaders make it. Before the true pinhole: "
        "the same parameters seen in perspective, at the distance that the head's own size gives. From there down one "
        "part at a time is that of the oracle fit; the mean head, placed and turned like it, is what knowing nothing "
        "of a person's shape and expression gives. f1200 to f300: of the photographs with that focal length in pixels, "
        "taken from 148, 74 and 37 cm. Strict: the prediction's depth aligned to the end, not in the "
        "benchmark's one step."
    )
    rows = attribution.map(lambda cell: f"{cell:.2f}" if isinstance(cell, float) else cell)
    headings = {name: name.removeprefix("cd_mm_") for name in rows.columns} | {"cd_mm": "CD", "strict_cd_mm": "strict"}
    return Section("What holds accuracy back", rows.rename(columns=headings), note)


def aflw2000_section(metrics: dict[str, dict[str, float | None]], method: str) -> Section:
    """What `mfnet.evaluation.aflw2000.summarise` gave for a method."""
    note = (
        f"Landmarks of {method} (its first training) from one photograph: mean distance in per cent of the square root "
        "of the area of the true ones' box, by yaw in degrees, with the number of photographs; the mean is over the "
        "three bins. The contour is the jaw's, also where the face hides it. Predictions see the photograph cropped "
        "around its annotation, nothing else of it."
    )
    row = {name: f"{_percent(values['nme_percent'])} ({values['n']})" for name, values in metrics.items()}
    return Section("Landmarks on AFLW2000-3D", pd.DataFrame([{"method": method, **row}]), note)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _section(section: Section) -> str:
    return f"<h2>{html.escape(section.title)}</h2>{_rows(section.rows)}<p>{html.escape(section.note)}</p>"


def _rows(frame: pd.DataFrame) -> str:
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in frame.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in frame.itertuples(index=False)
    )
    return f"<div class='scroll'><table><tr>{head}</tr>{body}</table></div>"


def _bold(cell: str) -> str:
    return f"<b>{html.escape(cell[2:-2])}</b>" if cell.startswith("**") else html.escape(cell)


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    text = html.escape(caption)
    return f"<figure><img src='data:image/png;base64,{data}' alt='{text}'><figcaption>{text}</figcaption></figure>"
