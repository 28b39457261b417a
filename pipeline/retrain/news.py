"""What is new among the photographs since they were last indexed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mfnet.config import Params
from mfnet.data.index import build_index
from mfnet.errors import about
from pipeline.outputs import DIGESTS


class News(NamedTuple):
    """subjects: people who were not there before; added, changed, removed: numbers of photographs; landmarks: whether
    the side file of landmarks is another one."""

    subjects: list[int]
    added: int
    changed: int
    removed: int
    landmarks: bool

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed or self.landmarks)

    def __str__(self) -> str:
        if not self:
            return "no new photograph"
        people = ", ".join(f"{subject:03d}" for subject in self.subjects) or "none"
        counts = f"{self.added} photographs added, {self.changed} changed, {self.removed} removed"
        return f"{counts}{', other landmarks' if self.landmarks else ''}; new subjects: {people}"


def look(params: Params, index: Path = Path("data/index.parquet")) -> News:
    """Compare the tree with its index, file by file and by content.

    Args:
        params: all of params.yaml.
        index: as the stage of that name wrote it; where it is missing everything is new.

    Returns:
        What is new. Where neither tree nor index are there yet nothing is: the stages that make them are due.
    """
    if not index.is_file() and not params.data.multipie.is_dir():
        return News([], 0, 0, 0, landmarks=False)
    with about("data.multipie"):
        now = build_index(params.data.multipie, params.engine.workers, DIGESTS)
    before = pd.read_parquet(index) if index.is_file() else now.iloc[:0]
    both = now.merge(before, on="path", how="outer", suffixes=("", "_before"), indicator=True)
    known_subjects = set(before["subject"])
    changed = (both["_merge"] == "both") & (both["digest"] != both["digest_before"])
    landmarks = index.is_file() and now.attrs["landmarks"] != before.attrs.get("landmarks")
    subjects = sorted({int(subject) for subject in now["subject"]} - known_subjects - {-1})
    sides = both["_merge"].value_counts()
    return News(subjects, int(sides["left_only"]), int(changed.sum()), int(sides["right_only"]), landmarks)
