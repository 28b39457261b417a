"""reports/index.html: tables, figures and training pictures in one file that opens offline."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any

import pandas as pd

from mfnet.evaluation.tables import Table, formatted

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; color: #222 }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ccc }
table { border-collapse: collapse; font-size: 13px } td, th { padding: 3px 8px; text-align: right }
td:nth-child(-n+2), th:nth-child(-n+2) { text-align: left } tr:nth-child(even) { background: #f5f5f5 }
tr.measured { background: #e8f1fb } img { max-width: 100% } figure { margin: 1em 0 }
iframe { width: 100%; height: 460px; border: 1px solid #ccc } .scroll { overflow-x: auto }
figcaption, .scroll + p, iframe + p { color: #555; font-size: 13px }
"""


def build_page(
    tables: list[Table],
    differences: pd.DataFrame,
    worst: pd.DataFrame,
    reference: str,
    figures: list[tuple[Path, str]],
    turning: str,
    facts: dict[str, Any],
    notes: list[str],
) -> str:
    """The page as text.

    Args:
        tables: the paper's tables.
        differences: of `mfnet.evaluation.uncertainty.difference_table`.
        worst: of `mfnet.evaluation.tables.worst_images`.
        reference: the method that the others are compared with, and whose worst images are shown.
        figures: picture files and their captions.
        turning: of `mfnet.evaluation.turntable.turntable`.
        facts: what is measured in one number, name -> text.
        notes: paragraphs below the title.
    """
    parts = ["<!doctype html><html lang='en'><head><meta charset='utf-8'><title>MFNet</title>"]
    parts.append(f"<style>{_STYLE}</style></head><body><h1>MFNet: multi-view head reconstruction</h1>")
    parts += [f"<p>{html.escape(note)}</p>" for note in notes]
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>" for k, v in facts.items())
    parts.append(f"<h2>At a glance</h2><table>{rows}</table>")
    parts += [_table(table) for table in tables]
    parts.append(_differences(differences, reference))
    parts.append(f"<h2>Where {html.escape(reference)} is worst</h2>{_rows(worst)}")
    parts.append("<h2>Figures</h2>")
    parts += [_figure(path, caption) for path, caption in figures]
    parts.append(f"<h2>To turn with the mouse</h2><iframe srcdoc='{html.escape(turning)}'></iframe>")
    parts.append("<p>The same predictions as in the heat maps; grey where the scan ends.</p>")
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
        "<p>CD in mm, MNE in rad, CR as a ratio. Bold: best of its source. Published rows were measured by their "
        "authors on FaceScape's photographs of real people and are not comparable with rows measured here.</p>"
    )
    return f"{caption}<div class='scroll'><table><tr>{head}</tr>{''.join(body)}</table></div>{note}"


def _differences(differences: pd.DataFrame, reference: str) -> str:
    note = (
        f"<p>CD minus that of {html.escape(reference)} over the same images, mm, with the 95% interval and the number "
        "of people it rests on. A method without three views is compared, from its one, with the reference's three. "
        "One training per method: how two seeds differ is not in these intervals.</p>"
    )
    return f"<h2>What the differences are worth</h2>{_rows(differences)}{note}"


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
