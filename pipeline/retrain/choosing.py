"""Whether a challenger takes the champion's place: their paired difference on the half kept for choosing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from mfnet.config import PromoteParams
from mfnet.evaluation.benchmark import OWN_SIZE
from mfnet.evaluation.statistics.halves import halves_of
from mfnet.evaluation.statistics.uncertainty import Interval, mean_over_people, paired_difference

WILD, LAB = "wild", "lab"
_SETTINGS = {WILD: "wild", LAB: "three_view" + OWN_SIZE}


class Comparison(NamedTuple):
    """Mean CD in mm of both, and of challenger minus champion, each with its 95% interval.

    lost: how many items the champion has a score of and the challenger has not.
    """

    champion: Interval
    challenger: Interval
    difference: Interval
    lost: int


class Decision(NamedTuple):
    """Whether the alias moves, and a sentence that says why."""

    promoted: bool
    why: str


def compare(challenger: pd.DataFrame, champion: pd.DataFrame) -> dict[str, Comparison]:
    """Compare two models by their scores per image.

    Args:
        challenger, champion: of `mfnet.evaluation.benchmark.run`, on the same benchmark.

    Returns:
        For the wild set and for the lab (three views, at own size) what the half kept for choosing says.
    """
    ours, theirs = (halves_of(table, challenger).choosing for table in (challenger, champion))
    compared = {}
    for place, setting in _SETTINGS.items():
        rows, others = (table[table["setting"] == setting] for table in (ours, theirs))
        lost = set(_scored(others)["stem"]) - set(_scored(rows)["stem"])
        difference = paired_difference([rows], [others])
        compared[place] = Comparison(_mean(others), _mean(rows), difference, len(lost))
    return compared


def decide(comparisons: Mapping[str, Comparison], rule: PromoteParams) -> Decision:
    """Apply `retrain.promote_if`; a difference whose interval holds zero is a tie, and ties keep the champion."""
    lost = sum(one.lost for one in comparisons.values())
    if lost:
        # Without its hardest items any model looks better.
        return Decision(False, f"the champion stays: the challenger fails on {lost} items that it has a score of")
    better = {place for place, one in comparisons.items() if one.difference.high < 0}
    worse = {place for place, one in comparisons.items() if one.difference.low > 0}
    wanted = {"one": bool(better), "both": better == {WILD, LAB}}.get(rule.better_in, rule.better_in in better)
    said = "; ".join(f"{place} {_verdict(place, better, worse)}" for place in (WILD, LAB))
    rule_text = f"promote_if: better_in {rule.better_in}, worse_in {rule.worse_in}"
    promoted = wanted and (rule.worse_in == "any" or not worse)
    subject = "the challenger takes its place" if promoted else "the champion stays"
    return Decision(promoted, f"{subject}: {said} ({rule_text})")


def decide_first(challenger: pd.DataFrame, mean_head: pd.DataFrame) -> Decision:
    """Where there is no champion: a model becomes it if in the wild it is nearer to the scans than the mean head."""
    one = compare(challenger, mean_head)[WILD]
    said = f"its wild CD, {one.challenger.mean:.2f} mm, beside the mean head's, {one.champion.mean:.2f} mm"
    if one.lost:
        said += f", without {one.lost} items that it fails on"
    first = one.difference.mean < 0 and not one.lost
    return Decision(first, f"{'the first champion' if first else 'there is no champion yet'}: {said}")


def _scored(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["cd_mm"].notna()]


def _mean(table: pd.DataFrame) -> Interval:
    return mean_over_people(table["cd_mm"].to_numpy(float), table["person"].to_numpy())


def _verdict(place: str, better: set[str], worse: set[str]) -> str:
    return "better" if place in better else "worse" if place in worse else "undecided"
