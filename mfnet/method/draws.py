"""What is left to chance in a training step: which photographs tell the shape, which pairs equation 6 looks at."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mfnet.data.pairs import PAIRS, VIEWS
from mfnet.method.processes import n_processes, process, share_of

# Away from the seeds of the batches.
_OF_SELECTION = 10**6 // 2


class Draw(NamedTuple):
    """The choices of one step, for the b triplets that this process has of the step's B.

    step: from 0; telling: [b, N] bool, see `select_views`; pairs: [m, 2], see `select_pairs`, None where nobody looks
    at pairs; rows: [b] of the B triplets, None where one process has them all.
    """

    step: int
    telling: Tensor
    pairs: Tensor | None
    rows: Tensor | None

    @staticmethod
    def of_step(step: int, seed: int, triplets: int, fewer_views: float, pairs: int | None) -> Draw:
        """Draw for B triplets, the same in every process, and take this process's share.

        Args:
            step: from 0.
            seed: of the training.
            triplets: B.
            fewer_views: share of the triplets whose shape fewer photographs tell.
            pairs: how many; None where nobody looks at any.
        """
        generator = torch.Generator().manual_seed(seed * 10**6 + step + _OF_SELECTION)
        telling = select_views(triplets, len(VIEWS), fewer_views, generator)
        selected = None if pairs is None else select_pairs(triplets, pairs, generator)
        if n_processes() == 1:
            return Draw(step, telling, selected, None)
        # Those with pairs first: dealt out like cards every process has as many pairs as another.
        first = torch.empty(0, dtype=torch.int64) if selected is None else selected[:, 0]
        others = torch.arange(triplets)
        rows = share_of(torch.cat([first, others[~torch.isin(others, first)]]))
        if selected is not None:
            own = selected[process() :: n_processes(), 1]
            selected = torch.stack([torch.arange(len(own)), own], 1)
        return Draw(step, telling[rows], selected, rows)

    def to(self, device: torch.device) -> Draw:
        """The choices on a device; rows, which batches are read by, stay."""
        return self._replace(
            telling=self.telling.to(device), pairs=None if self.pairs is None else self.pairs.to(device)
        )


def select_pairs(batch: int, count: int, generator: torch.Generator) -> Tensor:
    """Ordered pairs for one step, [M, 2] triplet and index into `PAIRS`, at most one per triplet."""
    triplet = torch.randperm(batch, generator=generator)[:count]
    return torch.stack([triplet, torch.randint(len(PAIRS), (len(triplet),), generator=generator)], 1)


def select_views(batch: int, views: int, fewer: float, generator: torch.Generator) -> Tensor:
    """Which photographs tell the shape, [B, N] bool: all, or of a share of the triplets one to all but one of them."""
    order = torch.rand(batch, views, generator=generator).argsort(1).argsort(1)
    number = torch.randint(1, views, (batch, 1), generator=generator)
    return (order < number) | (torch.rand(batch, 1, generator=generator) >= fewer)
