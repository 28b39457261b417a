"""Scores per image, read back and summed up."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mfnet.errors import UserError
from mfnet.evaluation.statistics.summary import averaged, load_scores, summarise


def test_failed_items_count_in_the_done_rate_and_not_in_the_mean() -> None:
    rows = [
        {"setting": "wild", "bin": "0-5", "cd_mm": value, "mne_rad": 0.1, "completeness": 1.0}
        for value in (2.0, np.nan)
    ]
    means = summarise(pd.DataFrame(rows))["wild"]["0-5"]
    assert (means["cd_mm"], means["n"], means["done_rate"]) == (2.0, 2, 0.5)
    assert summarise(pd.DataFrame(rows))["wild"]["all"] == means
    assert summarise(pd.DataFrame(rows))["wild"]["60-90"]["cd_mm"] is None


def test_the_lab_is_summed_up_by_focal_length_and_by_the_angle_at_the_longest() -> None:
    same = {"setting": "single_view", "bin": None, "mne_rad": 0.1, "completeness": 1.0}
    rows = [
        {**same, "focal": focal, "view": view, "cd_mm": 100.0 * k + view}
        for k, focal in enumerate((1200, 600, 300))
        for view in range(11)
    ]
    means_by_group = summarise(pd.DataFrame(rows))["lab"]["single_view"]
    assert {name: means["cd_mm"] for name, means in means_by_group["by_focal"].items()} == {
        "1200": 5,
        "600": 105,
        "300": 205,
    }
    assert {name: means["cd_mm"] for name, means in means_by_group["by_angle"].items()} == {
        "0": 0,
        "30": 4.5,
        "60": 9.5,
    }
    assert [means["n"] for means in means_by_group["by_angle"].values()] == [1, 8, 2]


def scored(cd: list[float], stems: Sequence[str] = "ab") -> pd.DataFrame:
    metrics = {"cd_mm": cd, "mne_rad": 0.1, "completeness": 1.0}
    metrics["failure"] = ["no face" if np.isnan(value) else "" for value in cd]
    return pd.DataFrame({"setting": "wild", "stem": list(stems), "bin": "0-5", **metrics})


def test_a_methods_trainings_are_averaged_item_by_item_and_one_failure_is_the_items(tmp_path: Path) -> None:
    for name, cd in {"full-0": [1.0, 2.0], "full-7": [2.0, np.nan]}.items():
        scored(cd).to_csv(tmp_path / f"{name}.csv", index=False)
    both = averaged([load_scores(tmp_path / f"{name}.csv") for name in ("full-0", "full-7")])
    np.testing.assert_array_equal(both["cd_mm"], [1.5, np.nan])
    assert both["failure"].tolist() == ["", "no face"]
    assert summarise(both)["wild"]["0-5"] == {
        "cd_mm": 1.5, "mne_rad": 0.1, "completeness": 1.0, "n": 2, "done_rate": 0.5}  # fmt: skip
    # Rows that were taken out of the middle of a table stay with their items.
    part = [load_scores(tmp_path / f"{name}.csv").iloc[1:] for name in ("full-0", "full-0")]
    assert averaged(part)["cd_mm"].tolist() == [2.0]


def test_names_of_digits_are_read_as_names_by_whoever_has_only_these(tmp_path: Path) -> None:
    scored([1.0, 2.0], ["000", "001"]).to_csv(tmp_path / "no_eye.csv", index=False)
    scored([1.0, 2.0, 3.0], ["000", "001", "00_0_00"]).to_csv(tmp_path / "full.csv", index=False)
    read = {name: load_scores(tmp_path / f"{name}.csv") for name in ("full", "no_eye")}
    assert read["no_eye"]["stem"].tolist() == ["000", "001"]
    assert len(read["no_eye"].merge(read["full"], on="stem")) == 2


def test_scores_that_are_missing_or_of_other_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mfnet\.csv is missing; run its evaluate stage"):
        load_scores(tmp_path / "mfnet.csv")
    with pytest.raises(UserError, match="scored on different items"):
        averaged([scored([1.0, 2.0]), scored([1.0, 2.0], "ac")])
