"""What a retraining leaves to read: a Markdown page on Prefect and MLflow, and a word to somebody."""

from __future__ import annotations

import base64
import shlex
import subprocess
from pathlib import Path

import cv2
import requests

from mfnet.evaluation.statistics.uncertainty import Interval, difference_text
from pipeline.retrain.challenge import Outcome
from pipeline.retrain.news import News

_CURVES = Path("reports/curves/mfnet")
_WIDEST, _QUALITY, _PATIENCE = 900, 80, 30.0


def summary(news: News, changed: list[str], outcome: Outcome | None, said: str) -> str:
    """The page of a retraining.

    Args:
        news: of the photographs.
        changed: stages that were due before it.
        outcome: of the challenge; None where there was none.
        said: the sentence that the run ends in.
    """
    title = said if outcome is None else _title(outcome)
    lines = [f"# {title}", "", f"- Photographs: {news}", f"- Stages that were due: {', '.join(changed) or 'none'}"]
    if outcome is not None:
        lines += [f"- Challenger: version {outcome.challenger}; champion before: {outcome.champion or 'none'}"]
        lines += [f"- Decided: {outcome.decision.why}"]
    if outcome is not None and outcome.comparisons:
        lines += [
            "", "CD in mm, its 95 % interval, and people, on the half of the benchmark that is kept for choosing:", "",
            "| | champion | challenger | challenger minus champion |", "|---|---|---|---|",
        ]  # fmt: skip
        lines += [
            f"| {place} | {_mean(one.champion)} | {_mean(one.challenger)} | {difference_text(one.difference)} |"
            for place, one in outcome.comparisons.items()
        ]
    return "\n".join(lines) + "\n"


def _title(outcome: Outcome) -> str:
    return f"Version {outcome.challenger} {'is champion' if outcome.decision.promoted else 'stays behind'}"


def with_picture(text: str, curves: Path = _CURVES) -> str:
    """The page with what the network makes of a held-out person, the newest picture of its training, inside it."""
    pictures = sorted(curves.glob("step_*.png"))
    if not pictures:
        return text
    image = cv2.imread(str(pictures[-1]))
    assert image is not None
    height, width = image.shape[:2]
    smaller = min(1.0, _WIDEST / width)
    image = cv2.resize(image, (round(width * smaller), round(height * smaller)), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    content = base64.b64encode(jpeg.tobytes()).decode()
    return f"{text}\nA held-out person, as the challenger sees them:\n\n![](data:image/jpeg;base64,{content})\n"


def notify(whom: str, text: str) -> str | None:
    """Tell somebody what a retraining has done.

    Args:
        whom: a URL, to which JSON with `text` is posted, or a command, which gets the text as its input.
        text: the page, without its picture.

    Returns:
        Why they could not be told; None where they were.
    """
    try:
        if whom.startswith(("http://", "https://")):
            requests.post(whom, json={"text": text}, timeout=_PATIENCE).raise_for_status()
            return None
        done = subprocess.run(
            shlex.split(whom), input=text, text=True, capture_output=True, timeout=_PATIENCE, check=False
        )
    except (requests.RequestException, OSError, ValueError, subprocess.TimeoutExpired) as error:
        return " ".join(str(error).split())
    return None if done.returncode == 0 else f"status {done.returncode}: {' '.join(done.stderr.split())}"


def _mean(interval: Interval) -> str:
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}] of {interval.n_people}"
