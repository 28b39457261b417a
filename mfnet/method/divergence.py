"""A training that diverges ends there: step, term and triplets are named, and the last good checkpoint stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from mfnet.errors import UserError

# In half precision a gradient overflows now and then, and its step is left out; so often in a row it no longer can.
_LEFT_OUT_IN_A_ROW = 50
_NAMED = 4
# Equation 7's term is lost if it is so many times the first step's at so many logged steps in a row.
_FAR, _FAR_IN_A_ROW = 3.0, 3


class Watch:
    """Looks at what a training computes, step by step."""

    def __init__(self, precision: str) -> None:
        """In a precision of `mfnet.config.TrainParams`."""
        self._allowed = _LEFT_OUT_IN_A_ROW if precision == "16-mixed" else 1
        self._in_a_row = 0

    def parameters(self, step: int, parts: Mapping[str, Tensor], names: Callable[[], Sequence[str]]) -> None:
        """Require that what the network says is finite.

        Args:
            step: counted from 1.
            parts: name -> [B, ...].
            names: gives the names of the B triplets.

        Raises:
            UserError: naming step, part and triplets.
        """
        if _all_finite(parts.values()):
            return
        for name, part in parts.items():
            rows = (~part.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
            if rows:
                raise diverged(step, f"the network's {name}", [names()[row] for row in rows])

    def losses(self, step: int, losses: Mapping[str, Tensor], names: Callable[[], Sequence[str]]) -> None:
        """Require that every term is finite; raises as `parameters` does."""
        if not _all_finite(losses.values()):
            name = next(name for name, loss in losses.items() if not loss.isfinite().all())
            raise diverged(step, f"the term {name}", names())

    def gradient(
        self,
        step: int,
        norm: Tensor | None,
        gradients: Callable[[], Mapping[str, Tensor]],
        names: Callable[[], Sequence[str]],
    ) -> None:
        """Require that the gradient is finite, but for single steps in half precision; raises as `parameters` does.

        Args:
            step: counted from 1.
            norm: of the gradient; None where it is not known.
            gradients: computes every term's own gradient, to find the one that is not.
            names: gives those of the triplets.
        """
        if norm is None or norm.isfinite():
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row >= self._allowed:
            terms = [name for name, one in gradients().items() if not one.isfinite().all()]
            raise diverged(step, f"the gradient of {' and '.join(terms) or 'their sum'}", names())


def require_near(step: int, landmark_losses: Sequence[float], names: Callable[[], Sequence[str]]) -> None:
    """Require that equation 7's term is not far above what the first step had, several times in a row.

    A start that is good is lost for good by too high a learning rate, also where all numbers stay finite.

    Args:
        step: counted from 1.
        landmark_losses: the term at the steps that were logged so far, the first one first.
        names: gives the names of this step's triplets.

    Raises:
        UserError: naming step, term and triplets.
    """
    first, newest = landmark_losses[0], landmark_losses[1:][-_FAR_IN_A_ROW:]
    if len(newest) == _FAR_IN_A_ROW and min(newest) > _FAR * first:
        raise diverged(step, "the term singlelmk", names(), f"is {newest[-1] / first:.0f} times what it was at first")


def diverged(step: int, what: str, triplets: Sequence[str], how: str = "is not finite") -> UserError:
    """The error of a training that cannot go on."""
    some = ", ".join(triplets[:_NAMED]) + (f" and {len(triplets) - _NAMED} more" if len(triplets) > _NAMED else "")
    remedy = "lower train.learning_rate; the last good checkpoint is kept"
    return UserError(f"train: diverged at step {step}: {what} {how} for {some or 'no triplet'}; {remedy}")


def _all_finite(parts: Iterable[Tensor]) -> bool:
    # One question to the device, not one for every part.
    return bool(torch.stack([part.isfinite().all() for part in parts]).all())
