from pathlib import Path

import numpy as np
import pytest

from mfnet.data.flow_store import FlowStore, pair_rows, write_shard
from mfnet.data.pairs import PAIRS, REVERSED_PAIRS, VIEWS
from mfnet.errors import UserError

# Where the skin at a view's (0, 0) is, in pixels: views are shifted copies of one another.
PLACE = {"front": (0.0, 0.0), "left": (6.0, -2.0), "right": (-3.0, 5.0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("flow")
    shift = np.array([[PLACE[b][axis] - PLACE[a][axis] for axis in (0, 1)] for a, b in PAIRS])
    flow = np.broadcast_to(shift[None, :, :, None, None], (1, 4, 2, 8, 8))
    consistent, masks = np.zeros((1, 4, 8, 8), bool), np.zeros((1, 4, 8, 8), bool)
    consistent[:, :, 2], masks[0, 1, :, 3] = True, True
    write_shard(target / "001_01.parquet", pair_rows(["a triplet"], flow, consistent, masks, 4))
    return target


@pytest.mark.parametrize("place", range(len(PAIRS)))
def test_a_target_is_where_the_flow_from_b_says_that_the_skin_is_in_a(folder: Path, place: int) -> None:
    a, b = PAIRS[place]
    target = FlowStore(folder, with_flow=True).pairs("a triplet").target
    assert target is not None
    assert target.shape == (4, 2, 8, 8)
    middle = (np.arange(8) + 0.5) / 4 - 1
    for axis, here in enumerate((middle[None].repeat(8, 0), middle[:, None].repeat(8, 1))):
        moved = here + (PLACE[a][axis] - PLACE[b][axis]) / 16
        np.testing.assert_allclose(target[place, axis].numpy(), moved, atol=1e-6)


def test_masks_come_back_pair_by_pair(folder: Path) -> None:
    pairs = FlowStore(folder).pairs("a triplet")
    assert pairs.consistency is not None
    assert pairs.consistency.shape == pairs.landmark_mask.shape == (4, 1, 8, 8)
    assert (pairs.consistency.sum((1, 3))[:, 2] == 8).all()
    assert pairs.landmark_mask.sum((1, 2, 3)).tolist() == [0, 8, 0, 0]
    assert (pairs.landmark_mask[1, 0, :, 3] == 1).all()


def test_a_store_without_flow_has_no_targets(folder: Path) -> None:
    assert FlowStore(folder).pairs("a triplet").target is None


def test_another_triplet_sets_store_is_refused(folder: Path, tmp_path: Path) -> None:
    store = FlowStore(folder)
    store.require(["a triplet"])
    with pytest.raises(UserError, match="no flow of triplet other and 1 others; it was made from other triplets"):
        store.require(["a triplet", "other", "another"])
    with pytest.raises(UserError, match="no shard in"):
        FlowStore(tmp_path)


def test_the_reversed_pair_of_a_pair_goes_back() -> None:
    assert [PAIRS[place] for place in REVERSED_PAIRS] == [(b, a) for a, b in PAIRS]
    assert {view for pair in PAIRS for view in pair} == set(VIEWS)
