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


def halves_of(per_image: pd.DataFrame, of: pd.DataFrame | None = None) -> Halves:
    """Split scores by people: a person's photographs are all in one half, the same one for every method.

    Args:
        per_image: of `mfnet.evaluation.benchmark.run`. Wild set and lab are halved each for itself, by a digest of the
            people's names, so that neither half is of one sort; of an odd number the choosing half has one more.
        of: the table whose people are halved, where that is another one; people it lacks are in the reporting half.
    """
    halved = per_image if of is None else of
    choosing = np.zeros(len(per_image), bool)
    for wild in (True, False):
        people = halved.loc[(halved["setting"] == "wild") == wild, "person"].astype(str)
        chosen_by = sorted(set(people), key=_digest)[::2]
        in_place = ((per_image["setting"] == "wild") == wild).to_numpy()
        choosing |= in_place & per_image["person"].astype(str).isin(chosen_by).to_numpy()
    return Halves(per_image[choosing], per_image[~choosing])


def _digest(person: str) -> str:
    return hashlib.blake2b(person.encode(), digest_size=8).hexdigest()
