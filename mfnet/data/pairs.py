"""Two views of one person: which ordered pairs a triplet has, and what is known of them before any head is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

VIEWS = ("front", "left", "right")
# (a, b) of equations 5 and 6: a's texture is rendered into b.
PAIRS = (("front", "left"), ("left", "front"), ("front", "right"), ("right", "front"))
PAIR_VIEWS = tuple((VIEWS.index(a), VIEWS.index(b)) for a, b in PAIRS)
# Where the pair (b, a) stands.
REVERSED_PAIRS = [PAIRS.index((b, a)) for a, b in PAIRS]
# A mirrored left view is a right view: where each view and each pair of a mirrored triplet comes from.
_MIRRORED = {"front": "front", "left": "right", "right": "left"}
MIRRORED_VIEWS = [VIEWS.index(_MIRRORED[view]) for view in VIEWS]
MIRRORED_PAIRS = [PAIRS.index((_MIRRORED[a], _MIRRORED[b])) for a, b in PAIRS]


class PairEvidence(NamedTuple):
    """What the photographs say of ordered pairs (a, b), all of it over b, in h x w squares of pixels.

    Leading axes are those of the pairs: [P] of a triplet, [B, P] of a batch, [M] of a selection.

    landmark_mask: [..., 1, h, w], MB of equation 5.
    consistency: [..., 1, h, w] in {0, 1}, where the flow of both directions agrees; None where nobody asks.
    target: [..., 2, h, w], where the flow says that the skin which b shows is in a, in a's [-1, 1]; None without flow.
    """

    landmark_mask: Tensor
    consistency: Tensor | None
    target: Tensor | None

    def to(self, device: torch.device) -> PairEvidence:
        """The same on a device."""
        return PairEvidence(*(None if part is None else part.to(device) for part in self))  # type: ignore[arg-type]

    def at(self, selection: tuple[Tensor, Tensor]) -> PairEvidence:
        """Of a batch's [B, P] the M pairs at (triplet [M], pair [M])."""
        return PairEvidence(*(None if part is None else part[selection] for part in self))  # type: ignore[arg-type]

    @staticmethod
    def stack(triplets: list[PairEvidence]) -> PairEvidence:
        """Of B triplets [P, ...] one batch [B, P, ...]."""
        parts = zip(*triplets, strict=True)
        return PairEvidence(*(None if part[0] is None else torch.stack(part) for part in parts))  # type: ignore[arg-type]
