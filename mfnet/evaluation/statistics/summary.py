"""Scores per image, read back and brought to means in the benchmark's groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mfnet.data.facescape import BINS, LAB_FOCALS
from mfnet.errors import UserError
from mfnet.evaluation.benchmark import ANGLE_VIEWS
from mfnet.evaluation.protocol.scores import METRICS


def load_scores(path: Path) -> pd.DataFrame:
    """Read what `mfnet.evaluation.benchmark.run` gave.

    Raises:
        UserError: there is no such file.
    """
    if not path.is_file():
        raise UserError(f"report: {path} is missing; run its evaluate stage")
    # Names that are all digits, as the wild set's are, would else be read as numbers.
    return pd.read_csv(path, dtype={"stem": str, "person": str})


def averaged(trainings: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Scores of every item as the mean over a method's trainings, in the first one's rows; NaN where one has failed.

    Raises:
        UserError: the tables are not of the same items.
    """
    key = ["setting", "stem"]
    tables = [table.set_index(key) for table in trainings]
    if any(not table.index.equals(tables[0].index) for table in tables):
        raise UserError("report: a method's trainings were scored on different items; run its evaluate stages again")
    means = pd.DataFrame(
        np.mean([table[[*METRICS]].to_numpy(float) for table in tables], 0),
        columns=[*METRICS],
        index=trainings[0].index,
    )
    # As read from a file, no failure is an empty cell, and a column of them has no text at all.
    failures = [["" if pd.isna(cell) else str(cell) for cell in table["failure"]] for table in trainings]
    return trainings[0].assign(**means, failure=[next(filter(None, of), "") for of in zip(*failures, strict=True)])


def group_means(rows: pd.DataFrame) -> dict:
    """Means of the metrics over scored images, null where there is none, their number and the share with a CD."""
    values = {name: float(rows[name].mean()) for name in METRICS}
    finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return {**finite, "n": len(rows), "done_rate": float(rows["cd_mm"].notna().mean()) if len(rows) else 0.0}


def summarise(per_image: pd.DataFrame) -> dict:
    """Means over the items that did not fail, in the benchmark's groups; null where none is left.

    Returns:
        `wild`: per pose bin, and `all`; `lab`: per setting over all of it, `by_focal` (in pixels) and `by_angle` (in
        degrees, of the photographs with the longest focal length alone, as the benchmark has it).
    """

    def of_lab(rows: pd.DataFrame) -> dict:
        focal = {str(pixels): group_means(rows[rows["focal"] == pixels]) for pixels in LAB_FOCALS}
        far = rows[rows["focal"] == LAB_FOCALS[0]]
        angle = {name: group_means(far[far["view"].isin(views)]) for name, views in ANGLE_VIEWS.items()}
        return {**group_means(rows), "by_focal": focal, "by_angle": angle}

    wild, lab = per_image[per_image["setting"] == "wild"], per_image[per_image["setting"] != "wild"]
    return {
        "wild": {name: group_means(wild[wild["bin"] == name]) for name in BINS} | {"all": group_means(wild)},
        "lab": {name: of_lab(rows) for name, rows in lab.groupby("setting", sort=True)},
    }


def failures(per_image: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Items that lack a metric: method, setting, how many of how many, and why; no row where there are none."""
    lacking = []
    for method, table in per_image.items():
        for setting, rows in table.groupby("setting", sort=False):
            for reason, failed in rows[rows[[*METRICS]].isna().any(axis=1)].groupby("failure", sort=False):
                items = f"{len(failed)} of {len(rows)}"
                lacking.append({"method": method, "setting": setting, "items": items, "why": reason})
    return pd.DataFrame(lacking, columns=["method", "setting", "items", "why"])


def require_scores(per_image: pd.DataFrame) -> None:
    """Raise a UserError if not one item could be scored."""
    if per_image["cd_mm"].isna().all():
        why = per_image["failure"].iloc[0] if len(per_image) else "there are none"
        raise UserError(f"evaluate: not one of {len(per_image)} items could be scored ({why}); see data.facescape")
