"""Champion and challenger, by their scores."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import pytest

from mfnet.config import PromoteParams
from mfnet.evaluation.statistics.halves import halves_of
from pipeline.retrain.choosing import compare, decide, decide_first

PEOPLE = 24


def scores(wild: float, lab: float, seed: int = 1) -> pd.DataFrame:
    """CD in mm of people who differ by a millimetre or so; a model's mean in the wild and in the lab."""
    rng = np.random.default_rng(0)
    own = np.random.default_rng(seed)
    rows = []
    for setting, mean in (("wild", wild), ("three_view_own_size", lab)):
        for person in range(PEOPLE):
            error = mean + rng.normal() + 0.1 * own.normal()
            rows.append((setting, f"{setting}{person}", f"{setting} {person}", error))
    return pd.DataFrame(rows, columns=["setting", "person", "stem", "cd_mm"])


@pytest.mark.parametrize(
    ("wild", "lab", "better_in", "worse_in", "promoted"),
    [
        (-0.5, 0.0, "one", "none", True),
        (0.0, -0.5, "one", "none", True),
        (0.0, 0.0, "one", "none", False),
        (0.5, 0.5, "one", "none", False),
        (-0.5, 0.5, "one", "none", False),
        (-0.5, 0.5, "one", "any", True),
        (-0.5, 0.5, "wild", "any", True),
        (0.0, -0.5, "wild", "none", False),
        (0.0, -0.5, "lab", "none", True),
        (-0.5, 0.0, "both", "none", False),
        (-0.5, -0.5, "both", "none", True),
    ],
)
def test_the_rule(
    wild: float, lab: float, better_in: Literal["one", "both", "wild", "lab"], worse_in: Literal["none", "any"],
    promoted: bool,
) -> None:  # fmt: skip
    # The seeds are such that equal means are not called different.
    comparisons = compare(scores(3 + wild, 3 + lab, 1), scores(3, 3, 2))
    assert comparisons["wild"].difference.excludes_zero == (wild != 0)
    decision = decide(comparisons, PromoteParams(better_in=better_in, worse_in=worse_in))
    assert decision.promoted == promoted
    assert decision.why.startswith("the challenger takes its place" if promoted else "the champion stays")


def test_only_the_half_kept_for_choosing_counts() -> None:
    champion, challenger = scores(3, 3, 2), scores(2, 2, 1)
    reporting = challenger["stem"].isin(halves_of(challenger).reporting["stem"])
    worse_there = challenger.assign(cd_mm=challenger["cd_mm"].where(~reporting, 9.0))
    assert compare(worse_there, champion) == compare(challenger, champion)
    assert compare(challenger, champion)["wild"].difference.n_people == PEOPLE / 2


def test_who_fails_where_the_champion_does_not_is_not_promoted() -> None:
    champion, challenger = scores(3, 3, 2), scores(2, 2, 1)
    hard = halves_of(challenger).choosing.index[0]
    challenger.loc[hard, "cd_mm"] = np.nan
    decision = decide(compare(challenger, champion), PromoteParams())
    assert not decision.promoted
    assert "fails on 1 items that it has a score of" in decision.why
    champion.loc[hard, "cd_mm"] = np.nan
    assert decide(compare(challenger, champion), PromoteParams()).promoted


def test_one_person_decides_nothing() -> None:
    champion, challenger = (table.groupby("setting").head(1) for table in (scores(3, 3), scores(1, 1)))
    assert not decide(compare(challenger, champion), PromoteParams()).promoted


@pytest.mark.parametrize(("wild", "first"), [(2.0, True), (4.0, False), (3.0, False)])
def test_the_first_champion_is_nearer_than_the_mean_head(wild: float, first: bool) -> None:
    decision = decide_first(scores(wild, 9, 1), scores(3, 1, 1))
    assert decision.promoted == first
    assert "mean head" in decision.why


def test_no_first_champion_fails_where_the_mean_head_does_not() -> None:
    challenger = scores(1, 1)
    challenger.loc[halves_of(challenger).choosing.index[0], "cd_mm"] = np.nan
    decision = decide_first(challenger, scores(3, 3))
    assert not decision.promoted
    assert "without 1 items that it fails on" in decision.why
