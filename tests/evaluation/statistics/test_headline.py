import pytest

from mfnet.evaluation.statistics.headline import headline, headline_scores


def summary(wild: float, **lab: float) -> dict:  # type: ignore[type-arg]
    return {"wild": {"all": {"cd_mm": wild}}, "lab": {name: {"cd_mm": value} for name, value in lab.items()}}


OURS = summary(3.12345, three_view=9.0, single_view=9.0, three_view_own_size=2.5, single_view_own_size=2.75)
MEAN_HEAD = summary(4.0, single_view=8.0, single_view_own_size=3.5)


def test_the_headline_is_eight_numbers_the_lab_at_own_size() -> None:
    assert headline({"mfnet": OURS, "refined": OURS, "mean_head": MEAN_HEAD, "landmark_fit": OURS}, 0.0412345) == {
        "mfnet": {"wild": 3.123, "lab": 2.5, "lab_one": 2.75, "landmarks": 4.123},
        "refined": {"wild": 3.123, "lab": 2.5},
        "mean_head": {"wild": 4.0, "lab": 3.5},
    }


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("mfnet", {"wild": 3.12345, "lab": 2.5, "lab_one": 2.75}),
        ("mean_head", {"wild": 4.0, "lab": 3.5}),
    ],
)
def test_a_method_has_the_scores_that_it_has(method: str, expected: dict[str, float]) -> None:
    assert headline_scores(OURS if method == "mfnet" else MEAN_HEAD, method) == expected


def test_the_ablation_has_the_wild_set_only_and_what_failed_is_null() -> None:
    assert headline_scores(summary(3.0), "mfnet") == {"wild": 3.0}
    assert headline({"mfnet": summary(3.0), "refined": OURS, "mean_head": MEAN_HEAD}, 0.1)["mfnet"]["lab"] is None
