"""How sure the tables are: 95% intervals of means and of paired differences over people, not images, and trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from mfnet.data.facescape import BINS
from mfnet.evaluation.benchmark import OWN_SIZE
from mfnet.evaluation.methods.registry import label
from mfnet.evaluation.statistics.halves import halves_of

_LEVEL = 0.95
_COLUMNS = ("wild", "lab, three views", "lab, one view")
_THREE, _ONE = "three_view" + OWN_SIZE, "single_view" + OWN_SIZE
_LAB = {
    "three_view": "lab, three views",
    "three_view" + OWN_SIZE: "lab, three views, own size",
    "single_view": "lab, one view",
    "single_view" + OWN_SIZE: "lab, one view, own size",
}

_REPORTED = {"wild": "wild, reporting half", _THREE: "lab, three views, own size, reporting half"}


class Interval(NamedTuple):
    """A mean with its 95% interval (NaN for a single person), over `n_items` items of `n_people` people in each of
    `n_trainings` trainings."""

    mean: float
    low: float
    high: float
    n_items: int
    n_people: int
    n_trainings: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval leaves no room for a mean of zero."""
        return self.low > 0 or self.high < 0


def mean_over_people(values: np.ndarray, people: np.ndarray) -> Interval:
    """Mean of values with Student's interval for people, each bringing all of their items, and trainings at random.

    Images of one person share that person's error, so the spread is taken between people. A percentile bootstrap
    over people would call one in five true zeros a difference when there are four people; this one in twenty. A
    training's seed is shared by all of its images: the variance of the trainings' means is added, degrees of freedom
    by Welch and Satterthwaite. Where seeds matter more than people up to one true zero in eight is called a difference
    with two trainings, one in thirteen with three.

    Args:
        values: [N], or [S, N] of S trainings; items that one of them lacks (NaN) are left out.
        people: [N] labels.
    """
    values = np.atleast_2d(values)
    kept = np.isfinite(values).all(0)
    values, labels = values[:, kept], np.unique(people[kept], return_inverse=True)[1]
    n_trainings, n_items = values.shape
    if not n_items:
        return Interval(np.nan, np.nan, np.nan, 0, 0, n_trainings)
    mean, n_people = float(values.mean()), int(labels.max()) + 1
    if n_people == 1:
        return Interval(mean, np.nan, np.nan, n_items, 1, n_trainings)
    deviation = np.bincount(labels, values.mean(0) - mean)
    variances = [(deviation**2).sum() * n_people / (n_people - 1) / n_items**2]
    freedoms = [n_people - 1]
    if n_trainings > 1:
        variances.append(values.mean(1).var(ddof=1) / n_trainings)
        freedoms.append(n_trainings - 1)
    variance = sum(variances)
    if not variance:
        return Interval(mean, mean, mean, n_items, n_people, n_trainings)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in zip(variances, freedoms, strict=True))
    half = float(stats.t.ppf((1 + _LEVEL) / 2, freedom) * np.sqrt(variance))
    return Interval(mean, mean - half, mean + half, n_items, n_people, n_trainings)


def paired_difference(
    method: Sequence[pd.DataFrame], reference: Sequence[pd.DataFrame], metric: str = "cd_mm"
) -> Interval:
    """Mean of method minus reference over the images that both have, by `stem`; a row's person is `person`.

    Args:
        method, reference: a table for each training, in the order of their seeds; what is not trained, or once, has one
            table, which is compared with every training of the other.
        metric: the column.
    """
    columns = ["stem", "person", metric]
    n_trainings = max(len(method), len(reference))
    assert {len(method), len(reference)} <= {1, n_trainings}
    both = [
        method[k % len(method)][columns].merge(
            reference[k % len(reference)][["stem", metric]], on="stem", suffixes=("", "_reference")
        )
        for k in range(n_trainings)
    ]
    values = np.stack([(one[metric] - one[f"{metric}_reference"]).to_numpy(float) for one in both])
    return mean_over_people(values, both[0]["person"].to_numpy())


Trainings = Mapping[str, Sequence[pd.DataFrame]]


def rows_of(trainings: Sequence[pd.DataFrame], setting: str) -> list[pd.DataFrame]:
    """Of every training's table the rows of one setting."""
    return [table[table["setting"] == setting] for table in trainings]


def difference_table(per_image: Trainings, reference: str) -> pd.DataFrame:
    """CD of every method minus the reference's, as text; in the lab at own size.

    Args:
        per_image: method -> for each of its trainings the table of `mfnet.evaluation.benchmark.run`.
        reference: the method to compare with.

    Returns:
        The columns method, trainings, wild, and the two of the lab: "+0.31 [0.10, 0.52] of 40" in mm and people, with
        "undecided" where the interval holds zero. A method without three views is compared, from its one, with the
        reference's three; so is the reference from one view.
    """
    own = per_image[reference]
    table = []
    if len(rows_of(own, _THREE)[0]):
        fewer = paired_difference(rows_of(own, _ONE), rows_of(own, _THREE))
        cells = dict.fromkeys(_COLUMNS, "-") | {"lab, three views": difference_text(fewer)}
        table.append({"method": f"{label(reference)}, one view", "trainings": len(own), **cells})
    for name, trainings in per_image.items():
        if name == reference:
            continue
        three = _THREE if len(rows_of(trainings, _THREE)[0]) else _ONE
        pairs = (("wild", "wild"), (three, _THREE), (_ONE, _ONE))
        intervals = [paired_difference(rows_of(trainings, mine), rows_of(own, theirs)) for mine, theirs in pairs]
        cells = dict(zip(_COLUMNS, map(difference_text, intervals), strict=True))
        table.append({"method": label(name), "trainings": max(len(trainings), len(own)), **cells})
    return pd.DataFrame(table, columns=["method", "trainings", *_COLUMNS])


def mean_table(per_image: Trainings) -> pd.DataFrame:
    """CD of every method with its interval, as text.

    Returns:
        The columns method, trainings, wild, its bins, the settings of the lab, and of wild set and lab what the half
        says that no model is chosen by.
    """
    table = []
    for name, trainings in per_image.items():
        row: dict[str, object] = {"method": label(name), "trainings": len(trainings)}
        wild = rows_of(trainings, "wild")
        row["wild"] = _mean(_over_trainings(wild))
        for place in BINS:
            row[f"wild {place}"] = _mean(_over_trainings([rows[rows["bin"] == place] for rows in wild]))
        for setting, column in _LAB.items():
            row[column] = _mean(_over_trainings(rows_of(trainings, setting)))
        reporting = [halves_of(table).reporting for table in trainings]
        for setting, column in _REPORTED.items():
            row[column] = _mean(_over_trainings(rows_of(reporting, setting)))
        table.append(row)
    return pd.DataFrame(table)


def decided_best(rows: Sequence[Sequence[pd.DataFrame]], metric: str, smaller_is_better: bool) -> int | None:
    """Which of several methods is better than each other one by more than chance; None where that is not decided.

    Args:
        rows: of each method the tables of its trainings, over the same images.
        metric: the column.
        smaller_is_better: whether the least is the best.
    """
    means = np.array([np.mean([table[metric].mean() for table in tables]) for tables in rows])
    if len(rows) < 2 or not np.isfinite(means).any():
        return None
    best = int(np.nanargmin(means if smaller_is_better else -means))
    others = [tables for k, tables in enumerate(rows) if k != best and np.isfinite(means[k])]
    # Over the images that both have: a mean over fewer, easier ones may be better and the method worse.
    differences = [paired_difference(rows[best], tables, metric) for tables in others]
    better = [one.high < 0 if smaller_is_better else one.low > 0 for one in differences]
    return best if better and all(better) else None


def _over_trainings(trainings: Sequence[pd.DataFrame]) -> Interval:
    values = np.stack([rows["cd_mm"].to_numpy(float) for rows in trainings])
    return mean_over_people(values, trainings[0]["person"].to_numpy())


def _mean(interval: Interval) -> str:
    if not interval.n_items:
        return "-"
    spread = "" if interval.n_people == 1 else f" [{interval.low:.2f}, {interval.high:.2f}]"
    return f"{interval.mean:.2f}{spread} of {interval.n_people}"


def difference_text(interval: Interval) -> str:
    """A difference as it is read: mean, interval, people, and whether it is one."""
    if not interval.n_items:
        return "-"
    if interval.n_people == 1:
        return f"{interval.mean:+.2f} of one person"
    text = f"{interval.mean:+.2f} [{interval.low:.2f}, {interval.high:.2f}] of {interval.n_people}"
    return text if interval.excludes_zero else f"{text}, undecided"
