"""The flow of all triplets, measured once and stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial, reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from mfnet.data.faces import FaceStore
from mfnet.data.flow_store import pair_rows, write_shard
from mfnet.data.pairs import PAIR_VIEWS, VIEWS
from mfnet.data.triplets import lenses_of
from mfnet.fitting.guided_flow import MeasuredFlow
from mfnet.method.covisible import pair_landmark_masks
from mfnet.parallel import parallel_stream
from mfnet.render.camera import Lens

_JOURNAL = "finished.jsonl"
_ALL = 0.999
# Images [B, 3, 3, S, S] in [0, 1], landmarks [B, 3, 68, 2] in [-1, 1] and yaws [B, 3] in degrees, by view; and the
# pinholes of the unrolled views where all are known.
Measure = Callable[[Tensor, Tensor, Tensor, Lens | None], MeasuredFlow]


class FlowGrid(NamedTuple):
    """How flow is stored: means over stride x stride pixels; and how many triplets are measured together."""

    stride: int
    batch: int


class _Contents(NamedTuple):
    """Pairs of a shard, their bytes, and the sum of their consistent fractions."""

    pairs: int = 0
    bytes: int = 0
    consistent: float = 0.0

    def with_more(self, other: _Contents) -> _Contents:
        return _Contents(self.pairs + other.pairs, self.bytes + other.bytes, self.consistent + other.consistent)


def precompute_flow(
    triplets: pd.DataFrame, faces: FaceStore, measure: Measure, grid: FlowGrid, target: Path, device: torch.device,
    inputs: str, workers: int | None = 1,
) -> dict[str, float]:  # fmt: skip
    """Write the pairs of every triplet, a shard for each one of the faces.

    Args:
        triplets: of `mfnet.data.triplets.mine_triplets`.
        faces: their crops.
        measure: gives the flow.
        grid: how it is stored.
        target: folder; shards of an earlier call that were made from and with the same are kept.
        device: of the measurement.
        inputs: a digest of what the flow is made from and with; a shard made from anything else is written anew.
        workers: processes, each for a shard; None is one per core.

    Returns:
        Pairs, bytes per triplet and the fraction of consistent pixels of all shards, pairs of the shards written now.
    """
    target.mkdir(parents=True, exist_ok=True)
    journal = target / _JOURNAL
    # Of a shard that was written several times the last line counts: the file is that one's.
    lines = map(json.loads, journal.read_text().splitlines()) if journal.is_file() else []
    finished = {shard: (key, contents) for shard, key, contents in lines}
    groups = {str(shard): group for shard, group in triplets.groupby("front_shard", sort=True)}
    keys = {shard: _shard_key(shard, inputs, grid, group) for shard, group in groups.items()}
    contents = {shard: _Contents(*known) for shard, (key, known) in finished.items() if keys.get(shard) == key}
    missing = [shard for shard in groups if shard not in contents]
    write = partial(_write_shard, faces=faces, measure=measure, grid=grid, device=device)
    work = [(target / f"{shard}.parquet", groups[shard]) for shard in missing]
    with journal.open("a") as stream:
        for shard, of_shard in zip(missing, parallel_stream(write, work, "flow", workers), strict=True):
            contents[shard] = of_shard
            stream.write(json.dumps([shard, keys[shard], of_shard]) + "\n")
            stream.flush()
    sums = reduce(_Contents.with_more, (contents[shard] for shard in groups), _Contents())
    for path in target.iterdir():
        if path.suffix != ".parquet" or path.stem not in groups:
            path.unlink()
    return {
        "pairs": sums.pairs,
        "pairs_written": sum(contents[shard].pairs for shard in missing),
        "bytes_per_triplet": sums.bytes / max(len(triplets), 1),
        "consistent_fraction": sums.consistent / max(sums.pairs, 1),
    }


def _shard_key(shard: str, inputs: str, grid: FlowGrid, group: pd.DataFrame) -> str:
    content = json.dumps([shard, inputs, grid, group.index.tolist()])
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _write_shard(
    shard: tuple[Path, pd.DataFrame], faces: FaceStore, measure: Measure, grid: FlowGrid, device: torch.device
) -> _Contents:
    path, group = shard
    rows: list[dict] = []
    consistent = 0.0
    for start in range(0, len(group), grid.batch):
        part = group.iloc[start : start + grid.batch]
        images = torch.stack([_load(faces, part, view) for view in VIEWS], 1).to(device)
        points = np.stack([np.stack(part[f"{view}_landmarks"]).reshape(-1, 68, 2) for view in VIEWS], 1)
        landmarks = torch.from_numpy(points).float().to(device)
        yaws = torch.from_numpy(np.stack([part[f"{view}_yaw"] for view in VIEWS], 1))
        lens = lenses_of(part)
        measured = measure(images, landmarks, yaws, None if lens is None else lens.to(device))
        flow = avg_pool2d(measured.flow.flatten(0, 1), grid.stride).unflatten(0, measured.flow.shape[:2])
        agreed = avg_pool2d(measured.agreement.float(), grid.stride) > _ALL
        masks = pair_landmark_masks(landmarks, yaws, PAIR_VIEWS, flow.shape[-1])[:, :, 0] > 0
        flow, agreed, masks = flow.half().cpu(), agreed.cpu(), masks.cpu()
        rows += pair_rows(map(str, part.index), flow.numpy(), agreed.numpy(), masks.numpy(), grid.stride)
        consistent += measured.agreement.float().mean((2, 3)).sum().item()
    return _Contents(len(rows), write_shard(path, rows), consistent)


def _load(faces: FaceStore, part: pd.DataFrame, view: str) -> Tensor:
    images = [faces.image(shard, row) for shard, row in zip(part[f"{view}_shard"], part[f"{view}_row"], strict=True)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
