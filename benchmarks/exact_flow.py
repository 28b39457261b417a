"""The flow stage's output as it would be if flow were exact, for generated photographs, whose surfaces are known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from mfnet.config import Params
from mfnet.data.triplets import VIEWS
from mfnet.flow.motion import exact_flow
from mfnet.flow.store import PAIRS, pair_rows
from mfnet.parallel import parallel_map
from mfnet.render import Renderer
from mfnet.render.camera import ndc_to_pixel
from mfnet.synthesis.multipie_tree import IMAGE_SIZE, Shot, Sitting
from mfnet.synthesis.person import sculptor_of

# The head that the generated people are drawn from; the method may have another.
_WORLD_HEAD = Path("data/raw/head.npz")


def write_exact_flow(triplets: pd.DataFrame, params: Params, target: Path) -> None:
    """Write a flow store of the triplets of generated people into a folder."""
    target.mkdir(parents=True, exist_ok=True)
    groups = [group for _, group in triplets.groupby("front_shard", sort=True)]
    for shard, table in parallel_map(partial(_exact_rows, params=params), groups, "exact flow", params.engine.workers):
        pq.write_table(pa.Table.from_pylist(table), target / f"{shard}.parquet")


def _exact_rows(group: pd.DataFrame, params: Params) -> tuple[str, list[dict]]:
    shard = str(group["front_shard"].iloc[0])
    sculptor = sculptor_of(_WORLD_HEAD)
    renderer = Renderer(sculptor.head, params.data.image_size, 8, n_albedo=0)
    sitting = Sitting(int(shard.split("_", maxsplit=1)[0]), sculptor, params.synthesize, params.seed)
    shots = {(shot.recording, shot.camera): shot for shot in sitting.shots()}
    # A triplet's views are of one sitting, so in one shard.
    taken = pd.read_parquet(f"data/faces/{shard}.parquet", columns=["recording", "camera"])
    seen = {}
    for view in VIEWS:
        photographs = taken.iloc[group[f"{view}_row"]].itertuples(index=False)
        placed = _in_crops([shots[tuple(of)] for of in photographs], group[f"{view}_crop"].tolist())
        seen[view] = renderer.view(placed, placed)
    rows = []
    for a, b in PAIRS:
        flow, _ = exact_flow(renderer, seen[a], seen[b])
        _, covisible = exact_flow(renderer, seen[b], seen[a])
        rows += pair_rows(group, a, b, flow, covisible, params.flow.stride)
    return shard, rows


def _in_crops(shots: Sequence[Shot], crops: Sequence[np.ndarray]) -> Tensor:
    """Vertices in the crops' [-1, 1], with depth in about the same unit; [N, V, 3]."""
    placed = []
    for shot, (centre_x, centre_y, side) in zip(shots, crops, strict=True):
        projected = torch.tensor(shot.projected)
        pixels = ndc_to_pixel(projected[:, :2], IMAGE_SIZE)
        in_crop = (pixels - pixels.new_tensor([centre_x, centre_y])) * (2 / side)
        spread = projected[:, 2] - projected[:, 2].mean()
        metre = in_crop.std(0).norm() / torch.tensor(shot.vertices[:, :2]).std(0).norm()
        placed.append(torch.cat([in_crop, (metre * spread)[:, None]], 1).float())
    return torch.stack(placed)
