from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from mfnet.config import FlowParams
from mfnet.flow import FlowEstimator
from mfnet.flow.store import PAIRS, FlowStore, precompute_flow

VIEWS = ("front", "left", "right")
# Where the skin at a view's (0, 0) is, in pixels: views are shifted copies of one another.
PLACE = {"front": (0.0, 0.0), "left": (6.0, -2.0), "right": (-3.0, 5.0)}


class Shades:
    """A face store whose images say by their brightness which view they are."""

    def image(self, shard: str, row: int) -> np.ndarray:
        return np.full((32, 32, 3), 50 * (1 + row), np.uint8)


class ShiftByShade(FlowEstimator):
    """The flow between two such images, in a way that no other pair has."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        from_to = [[VIEWS[round(image.mean().item() * 255 / 50) - 1] for image in images] for images in (first, second)]
        shift = [[PLACE[b][k] - PLACE[a][k] for k in (0, 1)] for a, b in zip(*from_to, strict=True)]
        return torch.tensor(shift)[:, :, None, None].expand(-1, -1, *first.shape[-2:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("flow")
    row: dict[str, object] = {}
    for number, view in enumerate(VIEWS):
        row |= {f"{view}_shard": "001_01", f"{view}_row": number, f"{view}_yaw": 0.0}
        row |= {f"{view}_landmarks": np.linspace(-0.9, 0.9, 136).astype(np.float32)}
    precompute_flow(pd.DataFrame([row]), Shades(), ShiftByShade(), FlowParams(stride=4), target)  # type: ignore[arg-type]
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
