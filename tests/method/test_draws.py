"""What a training step picks of a batch."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mfnet.data.pairs import PAIRS
from mfnet.method.draws import select_pairs, select_views


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 100))
def test_pairs_are_of_different_triplets(batch: int, count: int, seed: int) -> None:
    selection = select_pairs(batch, count, torch.Generator().manual_seed(seed))
    triplets, pairs = selection.unbind(1)
    assert len(set(triplets.tolist())) == len(triplets) == min(batch, count)
    assert ((pairs >= 0) & (pairs < len(PAIRS))).all()


@given(st.integers(2, 5), st.floats(0, 1), st.integers(0, 100))
def test_at_least_one_view_tells_the_shape(views: int, fewer: float, seed: int) -> None:
    telling = select_views(64, views, fewer, torch.Generator().manual_seed(seed))
    assert telling.any(1).all()


def test_of_so_many_triplets_fewer_views_tell_and_every_view_as_often() -> None:
    telling = select_views(6000, 3, 0.3, torch.Generator().manual_seed(0))
    some = telling[~telling.all(1)]
    assert abs(len(some) / 6000 - 0.3) < 0.03
    assert abs(some.sum(1).float().mean() - 1.5) < 0.05
    assert (some.float().mean(0) - 0.5).abs().max() < 0.05
    assert select_views(100, 3, 0.0, torch.Generator().manual_seed(0)).all()
