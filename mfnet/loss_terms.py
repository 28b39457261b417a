"""The terms of equation 11, named once: weights, curves, tables and ablations follow from this list.

A new term is an entry here, a function of that name in `mfnet.method.losses`, and a weight in params.yaml.
"""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """A term's equation in the paper, and what it compares, in words."""

    equation: int
    title: str


TERMS = {
    "multiop": Term(6, "multi-view flow"),
    "singlelmk": Term(7, "landmarks"),
    "eye": Term(8, "eyelids"),
    "lip": Term(9, "lips"),
    "reg": Term(10, "regularisation"),
}
FULL = "full"
_WITHOUT = "no_"
# Of the ablation: the whole loss, and the loss without one of its terms.
VARIANTS = (FULL, *(_WITHOUT + name for name in TERMS))


def left_out(variant: str) -> str | None:
    """The term that a variant leaves out; None for the full loss."""
    return None if variant == FULL else variant.removeprefix(_WITHOUT)
