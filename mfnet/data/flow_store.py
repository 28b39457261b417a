"""The precomputed flow between the anchor and each side view, both ways, with consistency and landmark masks.

One Parquet shard per subject and session; a row per ordered pair: the flow's mean over squares of pixels in float16,
masks as bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mfnet.data.pairs import PAIRS, REVERSED_PAIRS, PairEvidence
from mfnet.errors import UserError


def pair_rows(
    triplet_ids: Iterable[str], flow: np.ndarray, consistent: np.ndarray, landmark_mask: np.ndarray, stride: int
) -> list[dict]:
    """Rows of a shard: B triplets, P pairs in the order of `PAIRS`, squares of stride x stride pixels.

    Args:
        triplet_ids: B.
        flow: [B, P, 2, h, w] pixels, from a to b, means over the squares.
        consistent: [B, P, h, w] bool over b, where all pixels of a square agree both ways.
        landmark_mask: [B, P, h, w] bool over b, MB of equation 5.
        stride: side of a square.
    """
    return [
        {
            "triplet": triplet,
            "pair": f"{a}>{b}",
            "size": flow.shape[-1],
            "stride": stride,
            "flow": flow[k, place].astype(np.float16).tobytes(),
            "consistent": np.packbits(consistent[k, place]).tobytes(),
            "landmark_mask": np.packbits(landmark_mask[k, place]).tobytes(),
        }
        for k, triplet in enumerate(triplet_ids)
        for place, (a, b) in enumerate(PAIRS)
    ]


def write_shard(path: Path, rows: list[dict]) -> int:
    """Write what `pair_rows` gave; returns the bytes of flow and masks."""
    pq.write_table(pa.Table.from_pylist(rows), path)
    return sum(len(row["flow"]) + len(row["consistent"]) + len(row["landmark_mask"]) for row in rows)


class FlowStore:
    """Reads the precomputed pairs of a triplet back; the flow itself, most of the bytes, only where it is wanted."""

    def __init__(self, folder: Path, with_flow: bool = False) -> None:
        """Open what the flow stage wrote.

        Raises:
            UserError: there is nothing.
        """
        paths = sorted(folder.glob("*.parquet"))
        if not paths:
            raise UserError(f"flow: no shard in {folder}; run the flow stage")
        columns = ["triplet", "pair", "size", "stride", "consistent", "landmark_mask"]
        columns += ["flow"] if with_flow else []
        table = pa.concat_tables([pq.read_table(path, columns=columns, memory_map=True) for path in paths])
        keys = zip(table["triplet"].to_pylist(), table["pair"].to_pylist(), strict=True)
        self._row = {key: row for row, key in enumerate(keys)}
        self._table, self._folder, self.with_flow = table, folder, with_flow

    def require(self, triplet_ids: Iterable[str]) -> None:
        """Raise a UserError if the store lacks one of these triplets, as that of another triplet set does."""
        lacking = [name for name in triplet_ids if any((name, f"{a}>{b}") not in self._row for a, b in PAIRS)]
        if lacking:
            raise UserError(
                f"flow: {self._folder} has no flow of triplet {lacking[0]} and {len(lacking) - 1} others; "
                "it was made from other triplets, so run the flow stage again"
            )

    def pairs(self, triplet_id: str) -> PairEvidence:
        """All pairs of a triplet, [P, ...] in the order of `PAIRS`."""
        rows = [self._row[triplet_id, f"{a}>{b}"] for a, b in PAIRS]
        consistent, masks = (self._bits(name, rows) for name in ("consistent", "landmark_mask"))
        return PairEvidence(
            torch.from_numpy(masks).float()[:, None],
            torch.from_numpy(consistent).float()[:, None],
            torch.from_numpy(self._targets(rows)) if self.with_flow else None,
        )

    def _bits(self, name: str, rows: list[int]) -> np.ndarray:
        """[P, h, w] bool."""
        size = self._table["size"][rows[0]].as_py()
        packed = np.stack([np.frombuffer(self._table[name][row].as_py(), np.uint8) for row in rows])
        return np.unpackbits(packed, axis=1)[:, : size * size].reshape(-1, size, size).astype(bool)

    def _targets(self, rows: list[int]) -> np.ndarray:
        """[P, 2, h, w] float32, from the flow of each pair's opposite, which starts from b."""
        size, stride = (self._table[name][rows[0]].as_py() for name in ("size", "stride"))
        opposite = [self._table["flow"][rows[place]].as_py() for place in REVERSED_PAIRS]
        flow = np.stack([np.frombuffer(data, np.float16) for data in opposite]).astype(np.float32)
        middle = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
        here = np.stack([middle[None].repeat(size, 0), middle[:, None].repeat(size, 1)])
        return here + flow.reshape(-1, 2, size, size) * np.float32(2 / (size * stride))
