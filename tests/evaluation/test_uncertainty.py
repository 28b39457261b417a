import numpy as np
import pandas as pd
from scipy import stats

from mfnet.evaluation.uncertainty import bootstrap_mean, difference_table, paired_difference


def test_interval_of_independent_values_is_students(rng: np.random.Generator) -> None:
    values = rng.normal(3, 1, 400)
    interval = bootstrap_mean(values, np.arange(400))
    half = stats.t.ppf(0.975, 399) * values.std(ddof=1) / 20
    assert interval.mean == values.mean()
    np.testing.assert_allclose([interval.low, interval.high], [values.mean() - half, values.mean() + half], atol=0.02)


def test_images_of_one_person_do_not_count_as_many(rng: np.random.Generator) -> None:
    people = np.repeat(np.arange(8), 50)
    values = rng.normal(size=8)[people] + 0.01 * rng.normal(size=400)
    by_person, by_image = bootstrap_mean(values, people), bootstrap_mean(values, np.arange(400))
    assert by_person.high - by_person.low > 4 * (by_image.high - by_image.low)
    assert (by_person.n_items, by_person.n_people) == (400, 8)


def test_failed_items_are_left_out_of_mean_and_count() -> None:
    interval = bootstrap_mean(np.array([1.0, np.nan, 3.0]), np.array(["a", "a", "b"]))
    assert (interval.mean, interval.n_items, interval.n_people) == (2.0, 2, 2)
    assert np.isnan(bootstrap_mean(np.array([np.nan]), np.array(["a"])).mean)


def scores(offset: float, noise: np.ndarray, settings: tuple[str, ...]) -> pd.DataFrame:
    """Twenty images of ten people per setting."""
    tables = [
        pd.DataFrame({"setting": setting, "stem": [f"{k:02d}" for k in range(20)], "person": np.arange(20) // 2,
                      "cd_mm": 4 + offset + noise})
        for setting in settings
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def test_pairing_takes_out_what_the_images_share(rng: np.random.Generator) -> None:
    shared, settings = rng.normal(0, 2, 20), ("wild", "three_view", "single_view")
    full, worse = scores(0, shared, settings), scores(0.3, shared + 0.05 * rng.normal(size=20), settings)
    interval = paired_difference(worse[worse["setting"] == "wild"], full[full["setting"] == "wild"])
    assert interval.excludes_zero
    assert abs(interval.mean - 0.3) < 0.05


def test_table_says_when_a_difference_is_none(rng: np.random.Generator) -> None:
    shared, settings = rng.normal(0, 2, 20), ("wild", "three_view", "single_view")
    per_image = {
        "full": scores(0, shared, settings),
        "no_eye": scores(0, shared + rng.normal(0, 1, 20), settings),
        "mean_head": scores(1, shared, ("wild", "single_view")),
    }
    table = difference_table(per_image, "full").set_index("method")
    assert table.index.tolist() == ["no_eye", "mean_head"]
    assert table.loc["no_eye", "wild"].endswith("no difference")
    assert table.loc["mean_head", "lab, three views"] == "+1.00 [1.00, 1.00]"
