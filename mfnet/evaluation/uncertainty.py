"""How sure the tables are: 95% intervals of means and of paired differences, in which people count, not images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

_LEVEL = 0.95
_COLUMNS = ("wild", "lab, three views", "lab, one view")


class Interval(NamedTuple):
    """A mean with its 95% interval (NaN for a single person), over `n_items` items of `n_people` people."""

    mean: float
    low: float
    high: float
    n_items: int
    n_people: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval leaves no room for a mean of zero."""
        return self.low > 0 or self.high < 0


def mean_over_people(values: np.ndarray, people: np.ndarray) -> Interval:
    """Mean of values with Student's interval for people drawn at random, each bringing all of their items.

    Images of one person share that person's error, so the spread is taken between people. A percentile bootstrap
    over people would call one in five true zeros a difference when there are four people; this one in twenty.

    Args:
        values: [N]; NaN items are left out.
        people: [N] labels.
    """
    kept = np.isfinite(values)
    values, labels = values[kept], np.unique(people[kept], return_inverse=True)[1]
    if not len(values):
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    mean, n_people = float(values.mean()), int(labels.max()) + 1
    if n_people == 1:
        return Interval(mean, np.nan, np.nan, len(values), 1)
    deviation = np.bincount(labels, values - mean)
    error = np.sqrt((deviation**2).sum() * n_people / (n_people - 1)) / len(values)
    half = float(stats.t.ppf((1 + _LEVEL) / 2, n_people - 1) * error)
    return Interval(mean, mean - half, mean + half, len(values), n_people)


def paired_difference(method: pd.DataFrame, reference: pd.DataFrame, metric: str = "cd_mm") -> Interval:
    """Mean of method minus reference over the images that both have, by `stem`; a row's person is `person`."""
    columns = ["stem", "person", metric]
    both = method[columns].merge(reference[["stem", metric]], on="stem", suffixes=("", "_reference"))
    difference = both[metric].to_numpy(float) - both[f"{metric}_reference"].to_numpy(float)
    return mean_over_people(difference, both["person"].to_numpy())


def difference_table(per_image: dict[str, pd.DataFrame], reference: str) -> pd.DataFrame:
    """CD of every method minus the reference's, as text.

    Args:
        per_image: method -> table of `mfnet.evaluation.benchmark.run`.
        reference: the method to compare with; from three views in the lab where it has them.

    Returns:
        The columns method, wild, and the two of the lab: "+0.31 [0.10, 0.52] of 40" in mm and people, with
        "undecided" where the interval holds zero. A method without three views is compared, from its one, with the
        reference's three.
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
    if interval.n_people == 1:
        return f"{interval.mean:+.2f} of one person"
    text = f"{interval.mean:+.2f} [{interval.low:.2f}, {interval.high:.2f}] of {interval.n_people}"
    return text if interval.excludes_zero else f"{text}, undecided"
