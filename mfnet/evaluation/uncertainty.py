"""How sure the tables are: bootstrap intervals of means and of paired differences, people drawn, not images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

_DRAWS = 2000
_LEVEL = 95.0
_COLUMNS = ("wild", "lab, three views", "lab, one view")


class Interval(NamedTuple):
    """A mean with its 95% bootstrap interval, over `n_items` items of `n_people` people."""

    mean: float
    low: float
    high: float
    n_items: int
    n_people: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval leaves no room for a mean of zero."""
        return self.low > 0 or self.high < 0


def bootstrap_mean(values: np.ndarray, people: np.ndarray, seed: int = 0) -> Interval:
    """Mean of values and its percentile interval when whole people are drawn again with replacement.

    Images of one person share the error of that person, so drawing single images would promise too much.

    Args:
        values: [N]; NaN items are left out.
        people: [N] labels.
        seed: of the draws.
    """
    kept = np.isfinite(values)
    values, labels = values[kept], np.unique(people[kept], return_inverse=True)[1]
    if not len(values):
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    sums, counts = np.bincount(labels, values), np.bincount(labels)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(_DRAWS, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, [(100 - _LEVEL) / 2, (100 + _LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high), len(values), len(sums))


def paired_difference(method: pd.DataFrame, reference: pd.DataFrame, metric: str = "cd_mm") -> Interval:
    """Mean of method minus reference over the images that both have, by `stem`; a row's person is `person`."""
    columns = ["stem", "person", metric]
    both = method[columns].merge(reference[["stem", metric]], on="stem", suffixes=("", "_reference"))
    difference = both[metric].to_numpy(float) - both[f"{metric}_reference"].to_numpy(float)
    return bootstrap_mean(difference, both["person"].to_numpy())


def difference_table(per_image: dict[str, pd.DataFrame], reference: str) -> pd.DataFrame:
    """CD of every method minus the reference's, as text.

    Args:
        per_image: method -> table of `mfnet.evaluation.benchmark.run`.
        reference: the method to compare with; from three views in the lab where it has them.

    Returns:
        The columns method, wild, and the two of the lab: "+0.31 [0.10, 0.52]" in mm, with "no difference" where the
        interval holds zero. A method without three views is compared from its one with the reference's three.
    """

    def rows(name: str, setting: str) -> pd.DataFrame:
        table = per_image[name]
        return table[table["setting"] == setting]

    found = []
    for name in per_image:
        if name == reference:
            continue
        three = "three_view" if len(rows(name, "three_view")) else "single_view"
        pairs = (("wild", "wild"), (three, "three_view"), ("single_view", "single_view"))
        cells = [_cell(paired_difference(rows(name, mine), rows(reference, theirs))) for mine, theirs in pairs]
        found.append({"method": name, **dict(zip(_COLUMNS, cells, strict=True))})
    return pd.DataFrame(found, columns=["method", *_COLUMNS])


def _cell(interval: Interval) -> str:
    if not interval.n_items:
        return "-"
    text = f"{interval.mean:+.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    return text if interval.excludes_zero else f"{text}, no difference"
