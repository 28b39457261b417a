"""reports/index.html: verdict, pictures and figures in one file that opens offline."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import pandas as pd

from mfnet.evaluation.report.tables import Table, formatted

_STYLE = """
:root { color-scheme: light } * { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 1.5em auto; padding: 0 1em; color: #222 }
h1 { font-size: 1.5em; margin: 0 } .verdict { font-size: 1.1em; max-width: 60em }
table { border-collapse: collapse; font-size: 13px } td, th { padding: 3px 8px; text-align: right }
td:first-child, th:first-child, .two td:nth-child(2), .two th:nth-child(2) { text-align: left }
tr:nth-child(even) { background: #f5f5f5 } tr.measured { background: #e8f1fb }
.main { margin-top: 1em } .main table { font-size: 16px } .scroll { overflow-x: auto }
details { border-top: 1px solid #ccc; padding: 0.6em 0 } summary { cursor: pointer; font-weight: 600 }
h2 { font-size: 1em; margin: 1.2em 0 0.4em } img { max-width: 100%; height: auto } figure { margin: 0.8em 0 }
.row { display: flex; gap: 8px; flex-wrap: wrap } .row > figure { flex: 1 1 150px; max-width: 230px; margin: 0 }
.row img, .row canvas { width: 100%; aspect-ratio: 1; object-fit: cover; display: block; background: #fff }
canvas { cursor: grab } figcaption, .note { color: #555; font-size: 13px }
"""
_QUALITY = 82


class Section(NamedTuple):
    """A folded part of the page: its heading and what is under it, HTML."""

    title: str
    content: str


def build_page(verdict: str, row: str, main: pd.DataFrame, sections: Sequence[Section], script: str, note: str) -> str:
    """The page as text.

    Args:
        verdict: two sentences.
        row: HTML of the pictures under them, of `pictures`.
        main: the table of the methods.
        sections: what is folded.
        script: draws the heads that can be turned.
        note: where the data are from.
    """
    folded = [
        f"<details><summary>{html.escape(section.title)}</summary>{section.content}</details>" for section in sections
    ]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'><title>MFNet</title>",
        f"<style>{_STYLE}</style></head><body><h1>MFNet: a head from three photographs</h1>",
        f"<p class='verdict'>{html.escape(verdict)}</p>",
        row,
        f"<div class='main'>{table_of(main)}</div><p class='note'>{html.escape(note)}</p>",
        *folded,
        script,
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def pictures(cells: Sequence[str]) -> str:
    """Figures side by side; on a narrow screen below each other."""
    return f"<div class='row'>{''.join(cells)}</div>"


def chart(path: Path, caption: str) -> str:
    """A PNG as it is, with its caption, inside the page."""
    return _figure("png", path.read_bytes(), caption)


def photograph(path: Path, caption: str) -> str:
    """A picture of photographs, as JPEG, with its caption, inside the page."""
    image = cv2.imread(str(path))
    assert image is not None, "what was scored or drawn can be read"
    return _figure("jpeg", cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes(), caption)


def _figure(kind: str, data: bytes, caption: str) -> str:
    text, encoded = html.escape(caption), base64.b64encode(data).decode()
    return (
        f"<figure><img src='data:image/{kind};base64,{encoded}' alt='{text}'><figcaption>{text}</figcaption></figure>"
    )


def table_of(rows: pd.DataFrame, note: str = "") -> str:
    """A table of text, and a note below."""
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in rows.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_bold(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows.itertuples(index=False)
    )
    below = f"<p class='note'>{html.escape(note)}</p>" if note else ""
    return f"<div class='scroll'><table><tr>{head}</tr>{body}</table></div>{below}"


def numbered_table(table: Table) -> str:
    """One of the tables that have published rows, with its caption."""
    text = formatted(table)
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in text.columns)
    body = []
    for row in text.itertuples(index=False):
        cells = "".join(f"<td>{_bold(str(cell))}</td>" for cell in row)
        kind = "measured" if str(row[0]).startswith("measured") else "published"
        body.append(f"<tr class='{kind}'>{cells}</tr>")
    caption = f"<h2>Table {table.number}. {html.escape(table.caption)}</h2>"
    note = (
        "CD in mm, in brackets the share of photographs that have one where that is not all; MNE in rad; CR as a "
        "ratio. Bold: better than every other one measured here, by more than chance. Published rows are of "
        "photographs of real people: as the paper prints them, and as the means of FaceScape's own files."
    )
    rows = f"<table><tr>{head}</tr>{''.join(body)}</table>"
    return f"{caption}<div class='scroll two'>{rows}</div><p class='note'>{note}</p>"


def _bold(cell: str) -> str:
    return f"<b>{html.escape(cell[2:-2])}</b>" if cell.startswith("**") else html.escape(cell)
