from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from mfnet.config import FlowParams
from mfnet.data.triplets import VIEWS
from mfnet.flow.store import (
    PAIRS,
    FlowStore,
    Measure,
    TripletFlow,
    forward_backward_consistency,
    precompute_flow,
)

CPU = torch.device("cpu")
# Where the skin at a view's (0, 0) is, in pixels: views are shifted copies of one another.
PLACE = {"front": (0.0, 0.0), "left": (6.0, -2.0), "right": (-3.0, 5.0)}


class Shades:
    """A face store whose images say by their brightness which view they are."""

    def image(self, shard: str, row: int) -> np.ndarray:
        return np.full((32, 32, 3), 50 * (1 + row), np.uint8)


def shifted_by_shade(images: Tensor, landmarks: Tensor, yaws: np.ndarray) -> TripletFlow:
    """The flow between such images, in a way that no other pair has."""
    shown = [[VIEWS[round(image.mean().item() * 255 / 50) - 1] for image in views] for views in images]
    forward, agreement = {}, {}
    for a, b in PAIRS:
        places = [(views[VIEWS.index(a)], views[VIEWS.index(b)]) for views in shown]
        shift = torch.tensor([[PLACE[there][k] - PLACE[here][k] for k in (0, 1)] for here, there in places])
        forward[a, b] = shift[:, :, None, None].expand(-1, -1, *images.shape[-2:])
    for a, b in PAIRS:
        agreement[a, b] = forward_backward_consistency(forward[b, a], forward[a, b])
    return TripletFlow(forward, agreement)


def triplet(shard: str) -> dict[str, object]:
    row: dict[str, object] = {}
    for number, view in enumerate(VIEWS):
        row |= {f"{view}_shard": shard, f"{view}_row": number, f"{view}_yaw": 0.0}
        row |= {f"{view}_landmarks": np.linspace(-0.9, 0.9, 136).astype(np.float32)}
    return row


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("flow")
    precompute_flow(pd.DataFrame([triplet("001_01")]), Shades(), shifted_by_shade, FlowParams(stride=4), target, CPU)  # type: ignore[arg-type]
    return target


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_a_target_is_where_the_flow_from_b_says_that_the_skin_is_in_a(folder: Path, a: str, b: str) -> None:
    pair = FlowStore(folder, with_flow=True).pair(0, a, b)
    assert pair.target is not None
    assert pair.target.shape == (2, 8, 8)
    middle = (np.arange(8) + 0.5) / 4 - 1
    for axis, place in enumerate((middle[None].repeat(8, 0), middle[:, None].repeat(8, 1))):
        moved = place + (PLACE[a][axis] - PLACE[b][axis]) / 16
        np.testing.assert_allclose(pair.target[axis], moved, atol=1e-6)


def test_a_square_is_consistent_where_all_of_it_stays_inside_the_other_image(folder: Path) -> None:
    store = FlowStore(folder)
    # From left to front everything goes 6 pixels to the left: the first two squares of four pixels leave the image.
    consistent = store.pair(0, "front", "left").consistent
    assert not consistent[:, :2].any()
    assert consistent[2, 2:].all()


def test_a_store_without_flow_has_no_targets(folder: Path) -> None:
    assert FlowStore(folder).pair(0, "front", "left").target is None


class StopsAfter:
    """Is interrupted after so many batches."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, images: Tensor, landmarks: Tensor, yaws: np.ndarray) -> TripletFlow:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return shifted_by_shade(images, landmarks, yaws)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_interrupted_call_goes_on_where_it_stopped(tmp_path: Path) -> None:
    triplets = pd.DataFrame([triplet(shard) for shard in ("001_01", "002_01", "003_01")])

    def call(measure: Measure, name: str) -> dict[str, float]:
        return precompute_flow(triplets, Shades(), measure, FlowParams(stride=4), tmp_path / name, CPU, "faces")  # type: ignore[arg-type]

    whole = call(shifted_by_shade, "whole")
    assert whole["pairs"] == whole["pairs_written"] == 12
    with pytest.raises(KeyboardInterrupt):
        call(StopsAfter(1), "resumed")
    (tmp_path / "resumed/of_an_older_table.parquet").write_bytes(b"")
    resumed = call(StopsAfter(2), "resumed")
    assert resumed == whole | {"pairs_written": 8}
    assert contents(tmp_path / "resumed") == contents(tmp_path / "whole")


def test_what_was_made_from_something_else_is_made_anew(tmp_path: Path) -> None:
    triplets = pd.DataFrame([triplet("001_01"), triplet("002_01")])
    for inputs in ("faces", "other faces"):
        with pytest.raises(KeyboardInterrupt):
            precompute_flow(triplets, Shades(), StopsAfter(1), FlowParams(stride=4), tmp_path, CPU, inputs)  # type: ignore[arg-type]
