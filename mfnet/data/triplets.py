"""Triplets: a frontal anchor, a random left and a random right view of the same instant, split by subject."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd

from mfnet.data.multipie import FRONTAL_CAMERA
from mfnet.data.pairs import VIEWS
from mfnet.errors import UserError
from mfnet.render.camera import Lens

_OF_VIEW = ("shard", "row", "yaw", "crop", "lens", "landmarks", "landmarks_reference")


def mine_triplets(
    faces: pd.DataFrame, count: int, side_yaw: tuple[float, float], validation_fraction: float, seed: int
) -> pd.DataFrame:
    """Draw triplets, spread evenly over the instants (subject, session, recording, light).

    Args:
        faces: one row per face, as `mfnet.data.faces.preprocess` returns.
        count: how many to train on; the people who are held out have as many for each as the others.
        side_yaw: of the side views, lowest and highest, degrees.
        validation_fraction: share of the subjects that is held out.
        seed: of the draw and the split.

    Returns:
        Index `id`, which names a triplet by its content; subject, split ("train" or "validation"), and per view shard,
        row, yaw, crop, lens, landmarks and landmarks_reference, in the columns `front_shard`, .... Fewer rows than
        asked for where the faces allow no more.

    Raises:
        UserError: fewer than two subjects, or no instant with all three views.
    """
    rng = np.random.default_rng([seed, 10])
    instants = _instants(faces, side_yaw, rng)
    if not instants:
        raise UserError(
            f"no instant has a frontal ({FRONTAL_CAMERA}), a left and a right face; "
            f"expected cameras on both sides by {side_yaw[0]:g} to {side_yaw[1]:g} degrees"
        )
    subjects = np.unique([faces.at[front, "subject"] for front, _ in instants])
    held_out = _held_out(subjects, validation_fraction, rng)
    drawn, n_training = [], 0
    for triplet in _rounds(instants, rng):
        if n_training == count:
            break
        drawn.append(triplet)
        n_training += faces.at[triplet[0], "subject"] not in held_out
    table = pd.DataFrame({"subject": [faces.at[front, "subject"] for front, _, _ in drawn]})
    table["split"] = np.where(table["subject"].isin(held_out), "validation", "train")
    for position, view in enumerate(VIEWS):
        rows = faces.loc[[triplet[position] for triplet in drawn]]
        for name in _OF_VIEW:
            table[f"{view}_{name}"] = rows[name].to_numpy()
    table = table.sort_values(["front_shard", "front_row", "left_row", "right_row"], ignore_index=True)
    table.index = pd.Index([_identity(row) for row in table.to_dict("records")], name="id")
    return table


def _identity(row: dict) -> str:
    """Twelve hexadecimal digits of what a triplet shows: which faces, and where they were cropped."""
    content = [
        (str(row[f"{view}_shard"]), int(row[f"{view}_row"]), [*map(float, row[f"{view}_crop"])]) for view in VIEWS
    ]
    return hashlib.blake2b(repr(content).encode(), digest_size=6).hexdigest()


def _instants(faces: pd.DataFrame, side_yaw: tuple[float, float], rng: np.random.Generator) -> list:
    """Of every instant that has all three views the front face, and the pairs of side faces in random order."""
    low, high = side_yaw
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
    return instants


def _rounds(instants: list, rng: np.random.Generator) -> Iterator[tuple[int, int, int]]:
    """One triplet of every instant in random order, then a second of every instant, and so on."""
    for turn in range(max(len(pairs) for _, pairs in instants)):
        for k in rng.permutation(len(instants)):
            front, pairs = instants[k]
            if turn < len(pairs):
                yield (front, *pairs[turn])


def _held_out(subjects: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    if len(subjects) < 2:
        raise UserError(f"triplets of {len(subjects)} subject only; expected at least two to hold one out")
    n_held_out = min(max(1, round(fraction * len(subjects))), len(subjects) - 1)
    return rng.permutation(subjects)[:n_held_out]


def lenses_of(triplets: pd.DataFrame) -> Lens | None:
    """The pinholes of the unrolled views of T triplets, 3 T of them; None unless all are known."""
    columns = [triplets[f"{view}_lens"] for view in VIEWS]
    if any(column.isna().any() for column in columns):
        return None
    return Lens.of_numbers(np.stack([np.stack(column) for column in columns], 1).reshape(-1, 3))
