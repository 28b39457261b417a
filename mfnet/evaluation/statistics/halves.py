"""The benchmark's people in two halves: one that models are chosen by, and one that only reports what was chosen."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import pandas as pd


class Halves(NamedTuple):
    """Rows of a table of scores, by people: those that a model may be chosen by, and the others."""

    choosing: pd.DataFrame
    reporting: pd.DataFrame


def halves_of(per_image: pd.DataFrame) -> Halves:
    """Split scores by people: a person's photographs are all in one half, the same one for every method.

    Args:
        per_image: of `mfnet.evaluation.benchmark.run`. Wild set and lab are halved each for itself, by a digest of the
            people's names, so that neither half is of one sort; of an odd number the choosing half has one more.
    """
    wild = (per_image["setting"] == "wild").to_numpy()
    people = per_image["person"].astype(str).to_numpy()
    choosing = np.zeros(len(per_image), bool)
    for place in (wild, ~wild):
        ordered = sorted(set(people[place]), key=_digest)
        choosing |= place & np.isin(people, ordered[::2])
    return Halves(per_image[choosing], per_image[~choosing])


def _digest(person: str) -> str:
    return hashlib.blake2b(person.encode(), digest_size=8).hexdigest()
