from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from mfnet.data.flow_store import FlowStore
from mfnet.data.pairs import PAIRS, REVERSED_PAIRS, VIEWS
from mfnet.fitting.guided_flow import MeasuredFlow
from mfnet.fitting.precomputed_flow import FlowGrid, Measure, precompute_flow
from mfnet.flow.consistency import forward_backward_consistency
from mfnet.render.camera import Lens

CPU, GRID = torch.device("cpu"), FlowGrid(stride=4, batch=16)
# Where the skin at a view's (0, 0) is, in pixels: views are shifted copies of one another.
PLACE = {"front": (0.0, 0.0), "left": (6.0, -2.0), "right": (-3.0, 5.0)}


class Shades:
    """A face store whose images say by their brightness which view they are."""

    def image(self, shard: str, row: int) -> np.ndarray:
        return np.full((32, 32, 3), 50 * (1 + row), np.uint8)


def shifted_by_shade(images: Tensor, landmarks: Tensor, yaws: Tensor, lens: Lens | None) -> MeasuredFlow:
    """The flow between such images, in a way that no other pair has."""
    views = [[VIEWS[round(image.mean().item() * 255 / 50) - 1] for image in triplet] for triplet in images]
    flows = []
    for a, b in PAIRS:
        places = [(triplet[VIEWS.index(a)], triplet[VIEWS.index(b)]) for triplet in views]
        shift = torch.tensor([[PLACE[there][k] - PLACE[here][k] for k in (0, 1)] for here, there in places])
        flows.append(shift[:, :, None, None].expand(-1, -1, *images.shape[-2:]))
    agreement = [
        forward_backward_consistency(flows[reverse], flows[place])[:, 0] for place, reverse in enumerate(REVERSED_PAIRS)
    ]
    return MeasuredFlow(torch.stack(flows, 1), torch.stack(agreement, 1))


def triplets_of(*shards: str) -> pd.DataFrame:
    rows = []
    for shard in shards:
        row: dict[str, object] = {}
        for number, view in enumerate(VIEWS):
            row |= {f"{view}_shard": shard, f"{view}_row": number, f"{view}_yaw": 0.0, f"{view}_lens": None}
            row |= {f"{view}_landmarks": np.linspace(-0.9, 0.9, 136).astype(np.float32)}
        rows.append(row)
    return pd.DataFrame(rows, index=[f"triplet of {shard}" for shard in shards])


def call(
    triplets: pd.DataFrame, measure: Measure, target: Path, inputs: str = "faces", workers: int = 1
) -> dict[str, float]:
    return precompute_flow(triplets, Shades(), measure, GRID, target, CPU, inputs, workers)  # type: ignore[arg-type]


def test_a_square_is_consistent_where_all_of_it_stays_inside_the_other_image(tmp_path: Path) -> None:
    call(triplets_of("001_01"), shifted_by_shade, tmp_path)
    pairs = FlowStore(tmp_path, with_flow=True).pairs("triplet of 001_01")
    assert pairs.consistency is not None
    assert pairs.target is not None
    # From left to front everything goes 6 pixels to the left: the first two squares of four pixels leave the image.
    consistent = pairs.consistency[PAIRS.index(("front", "left")), 0]
    assert not consistent[:, :2].any()
    assert consistent[2, 2:].all()
    # The skin at the left view's middle is 6 of the half image's 16 pixels to the left in front, and 2 down.
    target = pairs.target[PAIRS.index(("front", "left"))].mean((1, 2))
    torch.testing.assert_close(target, torch.tensor([-6 / 16, 2 / 16]), atol=1e-3, rtol=0)


class StopsAfter:
    """Is interrupted after so many batches."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, images: Tensor, landmarks: Tensor, yaws: Tensor, lens: Lens | None) -> MeasuredFlow:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return shifted_by_shade(images, landmarks, yaws, lens)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_interrupted_call_goes_on_where_it_stopped(tmp_path: Path) -> None:
    triplets = triplets_of("001_01", "002_01", "003_01")
    whole = call(triplets, shifted_by_shade, tmp_path / "whole")
    assert whole["pairs"] == whole["pairs_written"] == 12
    with pytest.raises(KeyboardInterrupt):
        call(triplets, StopsAfter(1), tmp_path / "resumed")
    (tmp_path / "resumed/of_an_older_table.parquet").write_bytes(b"")
    resumed = call(triplets, StopsAfter(2), tmp_path / "resumed")
    assert resumed == whole | {"pairs_written": 8}
    assert contents(tmp_path / "resumed") == contents(tmp_path / "whole")


def test_what_was_made_from_something_else_is_made_anew(tmp_path: Path) -> None:
    for inputs in ("faces", "other faces"):
        with pytest.raises(KeyboardInterrupt):
            call(triplets_of("001_01", "002_01"), StopsAfter(1), tmp_path, inputs)


def test_several_processes_write_what_one_writes(tmp_path: Path) -> None:
    triplets = triplets_of("001_01", "002_01", "003_01")
    alone = call(triplets, shifted_by_shade, tmp_path / "alone")
    together = call(triplets, shifted_by_shade, tmp_path / "together", workers=2)
    assert together == alone
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")
