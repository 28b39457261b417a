import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from mfnet.evaluation.statistics.halves import halves_of

WORDS = st.lists(st.text("abc0123", min_size=1, max_size=6), min_size=1, max_size=30, unique=True)


def scores(wild: list[str], lab: list[str]) -> pd.DataFrame:
    """Two photographs of everybody in the wild, and in the lab from one view and from three."""
    rows = [("wild", person) for person in wild for _ in range(2)]
    rows += [(setting, person) for setting in ("single_view", "three_view_own_size") for person in lab]
    table = pd.DataFrame(rows, columns=["setting", "person"])
    return table.assign(stem=[f"{k}" for k in range(len(table))], cd_mm=np.arange(len(table), dtype=float))


@given(WORDS, WORDS)
def test_every_person_is_in_one_half_and_halves_are_equal(wild: list[str], lab: list[str]) -> None:
    table = scores(wild, lab)
    choosing, reporting = halves_of(table)
    assert sorted([*choosing.index, *reporting.index]) == list(table.index)
    for place, people in (("wild", wild), ("lab", lab)):
        sides = [
            set(half.loc[(half["setting"] == "wild") == (place == "wild"), "person"]) for half in (choosing, reporting)
        ]
        assert not sides[0] & sides[1]
        assert len(sides[0]) - len(sides[1]) == len(people) % 2


@given(WORDS, st.randoms())
def test_halves_do_not_depend_on_order_or_scores(wild: list[str], random: object) -> None:
    table = scores(wild, ["lab"])
    order = list(range(len(table)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = table.iloc[order].assign(cd_mm=0.0)
    assert set(halves_of(shuffled).choosing["stem"]) == set(halves_of(table).choosing["stem"])


def test_a_half_is_not_of_the_names_that_come_first() -> None:
    people = [f"{number:03d}" for number in range(100)]
    chosen = set(halves_of(scores(people, [])).choosing["person"])
    assert 10 < len(chosen & set(people[:50])) < 40
