"""Which triplets a training step sees, and how they are jittered: a function of seed and step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mfnet.data.batches import TripletBatch, TripletData, augment


class StepBatches(NamedTuple):
    """The batch of every step, so that a resumed training sees what an unbroken one would.

    data: the triplets; size: of a batch; jitter: see `augment`; seed: of order and jitter; pairs_from: the step from
    which on something looks at pairs.
    """

    data: TripletData
    size: int
    jitter: float
    seed: int
    pairs_from: int = 0

    def batch(self, step: int, rows: Tensor | None = None) -> TripletBatch:
        """The step's triplets; of these only some rows, where other processes have the others."""
        positions = self.positions(step)
        own = positions if rows is None else positions[rows]
        loaded = self.data.batch(own.tolist(), step >= self.pairs_from)
        return augment(loaded, self.jitter, self.generator(step), rows, len(positions))

    def positions(self, step: int) -> Tensor:
        """[B] in the split: every epoch all triplets in an order of its own, but for those that fill no whole batch."""
        per_epoch = max(1, len(self.data) // self.size)
        order = torch.randperm(len(self.data), generator=self.generator(step // per_epoch))
        place = step % per_epoch * self.size
        return order[place : place + self.size]

    def names(self, step: int, rows: Tensor | None = None) -> list[str]:
        """What the step's triplets, or some rows of them, are called in triplets.parquet."""
        positions = self.positions(step)
        own = positions if rows is None else positions[rows]
        return [str(name) for name in self.data.rows.index[own.numpy()]]

    def generator(self, step: int) -> torch.Generator:
        """Random numbers of a step."""
        return torch.Generator().manual_seed(self.seed * 10**6 + step)
