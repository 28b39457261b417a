"""The flow stage's output as it would be if flow were exact, for generated photographs, whose surfaces are known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from mfnet.config import Params
from mfnet.data.flow_store import pair_rows, write_shard
from mfnet.data.pairs import PAIR_VIEWS, PAIRS, VIEWS
from mfnet.method.covisible import pair_landmark_masks
from mfnet.parallel import parallel_map
from mfnet.pretraining.motion import exact_flow
from mfnet.render import Renderer
from mfnet.render.camera import ndc_to_pixel
from mfnet.synthesis.multipie_tree import IMAGE_SIZE, Shot, Sitting
from mfnet.synthesis.person import sculptor_of

# The head that the generated people are drawn from; the method may have another.
_ALL = 0.999
_WORLD_HEAD = Path("data/raw/head.npz")


def write_exact_flow(triplets: pd.DataFrame, params: Params, target: Path) -> None:
    """Write a flow store of the triplets of generated people into a folder."""
    target.mkdir(parents=True, exist_ok=True)
    groups = [group for _, group in triplets.groupby("front_shard", sort=True)]
    for shard, table in parallel_map(partial(_exact_rows, params=params), groups, "exact flow", params.engine.workers):
        write_shard(target / f"{shard}.parquet", table)


def _exact_rows(group: pd.DataFrame, params: Params) -> tuple[str, list[dict]]:
    shard = str(group["front_shard"].iloc[0])
    sculptor = sculptor_of(_WORLD_HEAD)
    renderer = Renderer(sculptor.head, params.data.image_size, 8, n_albedo=0)
    sitting = Sitting(int(shard.split("_", maxsplit=1)[0]), sculptor, params.synthesize, params.seed)
    shots = {(shot.recording, shot.camera): shot for shot in sitting.shots()}
    # A triplet's views are of one sitting, so in one shard.
    taken = pd.read_parquet(f"data/faces/{shard}.parquet", columns=["recording", "camera"])
    views = {}
    for view in VIEWS:
        photographs = taken.iloc[group[f"{view}_row"]].itertuples(index=False)
        placed = _in_crops([shots[tuple(of)] for of in photographs], group[f"{view}_crop"].tolist())
        views[view] = renderer.view(placed, placed)
    stride = params.flow.stride
    flows, agreed = [], []
    for a, b in PAIRS:
        flows.append(avg_pool2d(exact_flow(renderer, views[a], views[b])[0], stride))
        covisible = exact_flow(renderer, views[b], views[a])[1]
        agreed.append(avg_pool2d(covisible.float(), stride)[:, 0] > _ALL)
    landmarks = torch.from_numpy(np.stack([np.stack(group[f"{v}_landmarks"]).reshape(-1, 68, 2) for v in VIEWS], 1))
    yaws = torch.from_numpy(np.stack([group[f"{view}_yaw"] for view in VIEWS], 1))
    masks = pair_landmark_masks(landmarks, yaws, PAIR_VIEWS, params.data.image_size // stride)[:, :, 0] > 0
    measured = (torch.stack(flows, 1).numpy(), torch.stack(agreed, 1).numpy(), masks.numpy())
    return shard, pair_rows(map(str, group.index), *measured, stride=stride)


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
