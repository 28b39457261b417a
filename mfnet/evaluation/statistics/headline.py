"""The eight numbers that a change is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mfnet.evaluation.benchmark import OWN_SIZE
from mfnet.evaluation.methods.registry import MEAN_HEAD, MFNET, ONE_VIEW, REFINED

_PLACES = {MFNET: ("wild", "lab", "lab_one"), REFINED: ("wild", "lab"), MEAN_HEAD: ("wild", "lab")}


def headline_scores(summary: Mapping[str, Any], method: str) -> dict[str, float | None]:
    """Mean CD in mm of a method: `wild`, and at own size `lab` from three views and `lab_one` from one.

    Args:
        summary: of `mfnet.evaluation.statistics.summary.summarise`.
        method: a method that looks at one photograph has its `lab` from that one.

    Returns:
        What was measured of the three; null where nothing could be scored.
    """
    one_view = method in ONE_VIEW
    settings = {"lab": "single_view" if one_view else "three_view", "lab_one": "single_view"}
    scores = {"wild": summary["wild"]["all"]["cd_mm"]}
    for place, setting in settings.items():
        if setting + OWN_SIZE in summary["lab"] and not (one_view and place == "lab_one"):
            scores[place] = summary["lab"][setting + OWN_SIZE]["cd_mm"]
    return scores


def headline(summaries: Mapping[str, Mapping[str, Any]], landmark_error: float) -> dict[str, dict[str, float | None]]:
    """`reports/metrics.json`: the headline scores of MFNet, refined and the mean head, to a thousandth.

    Args:
        summaries: method -> its summary.
        landmark_error: of held-out people, as a share of the outer-eye distance; in per cent under `landmarks`.
    """
    table = {}
    for method, places in _PLACES.items():
        scores = headline_scores(summaries[method], method)
        table[method] = {place: _rounded(scores.get(place)) for place in places}
    table[MFNET]["landmarks"] = _rounded(100 * landmark_error)
    return table


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
