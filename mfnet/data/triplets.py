"""Triplets: a frontal anchor, a random left and a random right view of the same instant, split by subject."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd

from mfnet.config import DataParams
from mfnet.data.multipie import FRONTAL_CAMERA
from mfnet.errors import UserError

VIEWS = ("front", "left", "right")


def mine_triplets(faces: pd.DataFrame, params: DataParams, seed: int) -> pd.DataFrame:
    """Draw `params.triplets` triplets, spread evenly over the instants (subject, session, recording, light).

    Args:
        faces: one row per face, as `preprocess` returns.
        params: how many, how far to the side, and the share of subjects held out.
        seed: of the draw and the split.

    Returns:
        subject, split ("train" or "validation"), and per view shard, row, yaw, crop, landmarks and
        landmarks_reference, in the columns `front_shard`, .... Fewer rows than asked for where the faces allow no more.

    Raises:
        UserError: fewer than two subjects, or no instant with all three views.
    """
    rng = np.random.default_rng([seed, 10])
    low, high = params.side_yaw
    instants = []
    for _, group in faces.groupby(["subject", "session", "recording", "illumination"], sort=True):
        front = group[group["camera"] == FRONTAL_CAMERA]
        # Negative yaw: the nose to image left, the person's left cheek seen.
        left = group[group["yaw"].between(-high, -low)]
        right = group[group["yaw"].between(low, high)]
        if len(front) and len(left) and len(right):
            pairs = list(product(left.index, right.index))
            order = rng.permutation(len(pairs))
            instants.append((front.index[0], [pairs[k] for k in order]))
    if not instants:
        raise UserError(
            f"preprocess: no instant has a frontal ({FRONTAL_CAMERA}), a left and a right face; "
            "expected cameras on both sides within data.side_yaw"
        )
    chosen = [triplet for triplet, _ in zip(_rounds(instants, rng), range(params.triplets), strict=False)]
    table = pd.DataFrame({"subject": [faces.at[front, "subject"] for front, _, _ in chosen]})
    table["split"] = _split(table["subject"], params.validation_fraction, rng)
    for position, view in enumerate(VIEWS):
        rows = faces.loc[[triplet[position] for triplet in chosen]]
        for name in ("shard", "row", "yaw", "crop", "landmarks", "landmarks_reference"):
            table[f"{view}_{name}"] = rows[name].to_numpy()
    return table.sort_values(["front_shard", "front_row", "left_row", "right_row"], ignore_index=True)


def _rounds(instants: list, rng: np.random.Generator) -> Iterator[tuple[int, int, int]]:
    """One triplet of every instant in random order, then a second of every instant, and so on."""
    for turn in range(max(len(pairs) for _, pairs in instants)):
        for k in rng.permutation(len(instants)):
            front, pairs = instants[k]
            if turn < len(pairs):
                yield (front, *pairs[turn])


def _split(subject: pd.Series, fraction: float, rng: np.random.Generator) -> np.ndarray:
    subjects = np.unique(subject)
    if len(subjects) < 2:
        raise UserError(f"preprocess: triplets of {len(subjects)} subject only; expected at least two to hold one out")
    n_held_out = min(max(1, round(fraction * len(subjects))), len(subjects) - 1)
    held_out = rng.permutation(subjects)[:n_held_out]
    return np.where(subject.isin(held_out), "validation", "train")
