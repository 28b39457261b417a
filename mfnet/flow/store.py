"""Precomputed flow between the anchor and each side view, both ways, with consistency and landmark masks.

One Parquet shard per subject and session; a row per ordered pair: the flow's mean over squares of pixels in float16,
masks as bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from mfnet.config import FlowParams
from mfnet.covisible import landmark_mask
from mfnet.data.store import FaceStore
from mfnet.data.triplets import VIEWS
from mfnet.errors import UserError
from mfnet.flow.estimator import warp
from mfnet.parallel import progress

# (a, b) of equation 5 and 6: a's texture is rendered into b.
PAIRS = (("front", "left"), ("left", "front"), ("front", "right"), ("right", "front"))
_CONSISTENT_RELATIVE, _CONSISTENT_PIXELS = 0.01, 0.5
_ALL = 0.999


class PairFlow(NamedTuple):
    """One ordered pair (a, b), all of it over b, in h x w squares of pixels.

    consistent and landmark_mask [h, w] bool, the first where all pixels of a square are; target [2, h, w] float32:
    where the flow says that the skin which b shows there is in a, in a's [-1, 1]; None from a store without flow.
    """

    consistent: np.ndarray
    landmark_mask: np.ndarray
    target: np.ndarray | None


class TripletFlow(NamedTuple):
    """Flow of B triplets by ordered pair (a, b) of `PAIRS`.

    forward: [B, 2, H, W] pixels, from a to b; agreement: [B, 1, H, W] bool over b, where the flow of both directions is
    to be trusted.
    """

    forward: dict[tuple[str, str], Tensor]
    agreement: dict[tuple[str, str], Tensor]


# Images [B, 3, 3, S, S] in [0, 1], landmarks [B, 3, 68, 2] in [-1, 1] and yaws [B, 3] in degrees, by view.
Measure = Callable[[Tensor, Tensor, np.ndarray], TripletFlow]


def forward_backward_consistency(forward: Tensor, backward: Tensor) -> Tensor:
    """Where going there and back ends where it began (Sundaram et al., ECCV 2010).

    forward and backward [B, 2, H, W] to [B, 1, H, W] bool over the image that forward starts from; what leaves the
    other image is not consistent.
    """
    returned = warp(backward, forward)
    squared = forward.square().sum(1, keepdim=True) + returned.square().sum(1, keepdim=True)
    residual = (forward + returned).square().sum(1, keepdim=True)
    inside = warp(torch.ones_like(forward[:, :1]), forward, outside="zeros") > 0.5
    return inside & (residual < _CONSISTENT_RELATIVE * squared + _CONSISTENT_PIXELS)


@torch.no_grad()
def precompute_flow(
    triplets: pd.DataFrame, faces: FaceStore, measure: Measure, params: FlowParams, target: Path,
    device: torch.device, inputs: str = "",
) -> dict[str, float]:  # fmt: skip
    """Write `target/<shard>.parquet` for every triplet; a shard that an interrupted call has finished is kept.

    Args:
        triplets: of triplets.parquet.
        faces: their crops.
        measure, params: what finds the flow, and how it is stored.
        target: folder of the shards.
        device: that `measure` works on.
        inputs: a digest of what the flow is made from and with; a shard made from anything else is written anew.

    Returns:
        Pairs, bytes per triplet and the fraction of consistent pixels of all shards, pairs of the shards written now.
    """
    target.mkdir(parents=True, exist_ok=True)
    journal = target / "finished.jsonl"
    finished = dict(map(json.loads, journal.read_text().splitlines())) if journal.is_file() else {}
    groups = {str(shard): group for shard, group in triplets.groupby("front_shard", sort=True)}
    total, written = _Contents(), 0
    with journal.open("a") as stream:
        for shard, group in progress(groups.items(), "flow", len(groups)):
            key = _shard_key(shard, inputs, params, group)
            if key in finished:
                contents = _Contents(*finished[key])
            else:
                contents = _write_shard(target / f"{shard}.parquet", group, faces, measure, params, device)
                written += contents.pairs
                stream.write(json.dumps([key, contents]) + "\n")
                stream.flush()
            total = total.with_more(contents)
    for path in target.iterdir():
        if path.suffix != ".parquet" or path.stem not in groups:
            path.unlink()
    return {
        "pairs": total.pairs,
        "pairs_written": written,
        "bytes_per_triplet": total.bytes / max(len(triplets), 1),
        "consistent_fraction": total.consistent / max(total.pairs, 1),
    }


class _Contents(NamedTuple):
    """Pairs of a shard, their bytes, and the sum of their consistent fractions."""

    pairs: int = 0
    bytes: int = 0
    consistent: float = 0.0

    def with_more(self, other: _Contents) -> _Contents:
        return _Contents(self.pairs + other.pairs, self.bytes + other.bytes, self.consistent + other.consistent)


def _shard_key(shard: str, inputs: str, params: FlowParams, group: pd.DataFrame) -> str:
    content = json.dumps([shard, inputs, params.model_dump(), group.index.tolist()])
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _write_shard(
    path: Path, group: pd.DataFrame, faces: FaceStore, measure: Measure, params: FlowParams, device: torch.device
) -> _Contents:
    rows, consistent = [], 0.0
    for start in range(0, len(group), params.batch):
        part = group.iloc[start : start + params.batch]
        images = torch.stack([_load(faces, part, view) for view in VIEWS], 1)
        landmarks = np.stack([np.stack(part[f"{view}_landmarks"]).reshape(-1, 68, 2) for view in VIEWS], 1)
        yaws = np.stack([part[f"{view}_yaw"] for view in VIEWS], 1)
        flows = measure(images.to(device), torch.from_numpy(landmarks).float().to(device), yaws)
        for (a, b), flow in flows.forward.items():
            agreement = flows.agreement[a, b]
            rows += pair_rows(part, a, b, flow, agreement, params.stride)
            consistent += agreement.float().mean((1, 2, 3)).sum().item()
    n_bytes = sum(len(row["flow"]) + len(row["consistent"]) + len(row["landmark_mask"]) for row in rows)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return _Contents(len(rows), n_bytes, consistent)


def _load(faces: FaceStore, part: pd.DataFrame, view: str) -> Tensor:
    images = [faces.image(shard, row) for shard, row in zip(part[f"{view}_shard"], part[f"{view}_row"], strict=True)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def pair_rows(part: pd.DataFrame, a: str, b: str, flow: Tensor, agreement: Tensor, stride: int) -> list[dict]:
    """Rows of a shard.

    Args:
        part: N triplets.
        a, b: the ordered pair.
        flow: [N, 2, H, W] pixels, from a to b.
        agreement: [N, 1, H, W] over b, where the flows of both directions are to be trusted.
        stride: side of the squares that the flow is averaged over.
    """
    coarse = avg_pool2d(flow, stride).half().cpu().numpy()
    agree = (avg_pool2d(agreement.float(), stride)[:, 0] > _ALL).cpu().numpy()
    rows = []
    for k, (triplet, row) in enumerate(part.iterrows()):
        landmarks = np.asarray(row[f"{b}_landmarks"], np.float32).reshape(-1, 2)
        mask = landmark_mask(landmarks, row[f"{a}_yaw"], row[f"{b}_yaw"], coarse.shape[-1])
        rows.append(
            {
                "triplet": triplet,
                "pair": f"{a}>{b}",
                "size": coarse.shape[-1],
                "stride": stride,
                "flow": coarse[k].tobytes(),
                "consistent": np.packbits(agree[k]).tobytes(),
                "landmark_mask": np.packbits(mask).tobytes(),
            }
        )
    return rows


class FlowStore:
    """Reads the precomputed pairs of a triplet back; the flow itself, most of the bytes, only where it is wanted."""

    def __init__(self, folder: Path, with_flow: bool = False) -> None:
        paths = sorted(folder.glob("*.parquet"))
        if not paths:
            raise UserError(f"flow: no shard in {folder}; run the flow stage")
        columns = ["triplet", "pair", "size", "stride", "consistent", "landmark_mask"]
        columns += ["flow"] if with_flow else []
        table = pa.concat_tables([pq.read_table(path, columns=columns, memory_map=True) for path in paths])
        keys = zip(table["triplet"].to_pylist(), table["pair"].to_pylist(), strict=True)
        self._row = {key: row for row, key in enumerate(keys)}
        self._table, self.with_flow = table, with_flow

    def pair(self, triplet: int, a: str, b: str) -> PairFlow:
        """The pair (a, b) of the triplet with this row number in triplets.parquet."""
        row = self._row[triplet, f"{a}>{b}"]
        size = self._table["size"][row].as_py()

        def bits(name: str) -> np.ndarray:
            packed = np.frombuffer(self._table[name][row].as_py(), np.uint8)
            return np.unpackbits(packed)[: size * size].reshape(size, size).astype(bool)

        return PairFlow(bits("consistent"), bits("landmark_mask"), self._target(triplet, a, b))

    def _target(self, triplet: int, a: str, b: str) -> np.ndarray | None:
        """From the flow of the opposite pair, which starts from b."""
        if not self.with_flow:
            return None
        row = self._row[triplet, f"{b}>{a}"]
        size, stride = (self._table[name][row].as_py() for name in ("size", "stride"))
        flow = np.frombuffer(self._table["flow"][row].as_py(), np.float16).reshape(2, size, size).astype(np.float32)
        middle = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
        return np.stack([middle[None].repeat(size, 0), middle[:, None].repeat(size, 1)]) + flow * (2 / (size * stride))
