import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mfnet.evaluation.statistics.uncertainty import (
    decided_best,
    difference_table,
    mean_over_people,
    mean_table,
    paired_difference,
)


def test_interval_of_independent_values_is_students(rng: np.random.Generator) -> None:
    values = rng.normal(3, 1, 12)
    interval = mean_over_people(values, np.arange(12))
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    np.testing.assert_allclose(interval[:3], [values.mean(), expected.low, expected.high])


@pytest.mark.parametrize("n_people", [4, 20])
def test_one_true_zero_in_twenty_is_called_a_difference(rng: np.random.Generator, n_people: int) -> None:
    people = np.repeat(np.arange(n_people), 6)
    trials = [
        mean_over_people(rng.normal(size=n_people)[people] + 0.3 * rng.normal(size=len(people)), people).excludes_zero
        for _ in range(2000)
    ]
    assert 0.03 < np.mean(trials) < 0.07


@pytest.mark.parametrize("n_people", [4, 40])
@pytest.mark.parametrize(("n_trainings", "bound"), [(2, 0.14), (3, 0.085)])
@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0, 10.0])
def test_true_zeros_are_seldom_called_differences_whatever_seeds_do(
    rng: np.random.Generator, n_trainings: int, n_people: int, bound: float, spread: float
) -> None:
    # The seeds' spread against that of the mean over people; the items of a person stand for themselves.
    seeds = rng.normal(scale=spread / np.sqrt(n_people), size=(2000, n_trainings, 1))
    trials = seeds + rng.normal(size=(2000, 1, n_people)) + 0.3 * rng.normal(size=(2000, n_trainings, n_people))
    called = [mean_over_people(values, np.arange(n_people)).excludes_zero for values in trials]
    assert 0.02 < np.mean(called) < bound


def test_a_difference_that_only_one_training_shows_is_none(rng: np.random.Generator) -> None:
    people = np.repeat(np.arange(10), 2)
    once = 0.3 + 0.05 * rng.normal(size=20)
    assert mean_over_people(once, people).excludes_zero
    assert not mean_over_people(np.stack([once, once - 0.4]), people).excludes_zero
    assert mean_over_people(np.stack([once, once + 0.01]), people).excludes_zero


def test_failed_items_are_left_out_and_one_person_has_no_interval() -> None:
    interval = mean_over_people(np.array([1.0, np.nan, 3.0]), np.array(["a", "a", "b"]))
    assert (interval.mean, interval.n_items, interval.n_people) == (2.0, 2, 2)
    alone = mean_over_people(np.array([1.0, 2.0]), np.array(["a", "a"]))
    assert np.isnan(alone.low)
    assert not alone.excludes_zero
    assert np.isnan(mean_over_people(np.array([np.nan]), np.array(["a"])).mean)
    twice = mean_over_people(np.array([[1.0, 2.0, 3.0], [2.0, np.nan, 5.0]]), np.array(["a", "b", "c"]))
    assert (twice.mean, twice.n_items, twice.n_people, twice.n_trainings) == (2.75, 2, 2, 2)


def scores(noise: np.ndarray, **offsets: float) -> pd.DataFrame:
    """Twenty images of ten people in each named setting, with that setting's offset of CD."""
    tables = [
        pd.DataFrame({"setting": setting, "stem": [f"{k:02d}" for k in range(20)], "person": np.arange(20) // 2,
                      "bin": "60-90", "cd_mm": 4 + offset + noise})
        for setting, offset in offsets.items()
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def test_pairing_takes_out_what_the_images_share(rng: np.random.Generator) -> None:
    shared = rng.normal(0, 2, 20)
    interval = paired_difference([scores(shared + 0.05 * rng.normal(size=20), wild=0.3)], [scores(shared, wild=0)])
    assert interval.excludes_zero
    assert abs(interval.mean - 0.3) < 0.05


def test_table_compares_like_settings_and_says_when_a_difference_is_undecided(rng: np.random.Generator) -> None:
    shared = rng.normal(0, 2, 20)
    of_lab = {"three_view_own_size": 0.1, "single_view_own_size": 0.7}
    per_image = {
        "full": [scores(shared + step, wild=0, **of_lab) for step in (0.01, -0.01)],
        "no_eye": [scores(shared + rng.normal(0, 1, 20), wild=0, **of_lab) for _ in range(2)],
        "no_lip": [scores(shared, wild=1, three_view_own_size=2, single_view_own_size=3) for _ in range(2)],
        "mean_head": [scores(shared, wild=2, single_view_own_size=1)],
    }
    table = difference_table(per_image, "full").set_index("method")
    assert table.index.tolist() == ["full, one view", "no eye", "no lip", "mean head"]
    assert table["trainings"].tolist() == [2, 2, 2, 2]
    cells = table.drop(columns="trainings")
    assert [cell.split()[0] for cell in cells.loc["full, one view"]] == ["-", "+0.60", "-"]
    assert cells.loc["no eye", "wild"].endswith("of 10, undecided")
    assert [cell.split()[0] for cell in cells.loc["no lip"]] == ["+1.00", "+1.90", "+2.30"]
    assert [cell.split()[0] for cell in cells.loc["mean head"]] == ["+2.00", "+0.90", "+0.30"]


def test_means_come_with_their_intervals(rng: np.random.Generator) -> None:
    noise = rng.normal(0, 2, 20)
    per_image = {"full": [scores(noise, wild=0, three_view=1, single_view=2)] * 2, "mean_head": [scores(noise, wild=3)]}
    table = mean_table(per_image).set_index("method")
    interval = mean_over_people(4 + noise, np.arange(20) // 2)
    assert table.loc["full", "wild"] == f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}] of 10"
    assert table["trainings"].to_dict() == {"full": 2, "mean head": 1}
    assert table.loc["full", "wild 0-5"] == "-"
    assert table.loc["full", "wild 60-90"] == table.loc["full", "wild"]
    assert table.loc["mean head", "lab, one view"] == table.loc["full", "lab, one view, own size"] == "-"


def test_the_best_is_named_only_where_it_is_better_than_each_other_by_more_than_chance(
    rng: np.random.Generator,
) -> None:
    shared = rng.normal(0, 2, 20)
    near, same, far = (
        [scores(shared + rng.normal(0, 0.05, 20), wild=offset)] for offset in (0.0, 0.01, 1.0)
    )  # fmt: skip
    assert decided_best([far, near], "cd_mm", smaller_is_better=True) == 1
    assert decided_best([far, near], "cd_mm", smaller_is_better=False) == 0
    assert decided_best([near, same, far], "cd_mm", smaller_is_better=True) is None
    assert decided_best([near], "cd_mm", smaller_is_better=True) is None
