"""What the evaluation stages have left in reports/, read back in one piece."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mfnet.errors import UserError
from mfnet.evaluation.methods.registry import METHODS, MFNET
from mfnet.evaluation.statistics.summary import averaged, load_scores, summarise


@dataclass(frozen=True)
class Measurements:
    """Scores and curves of a complete run.

    methods: method -> its scores per image.
    ablation: variant -> the scores of each of its trainings, in the order of the seeds.
    landmark_errors: mfnet and variants -> error on held-out people at the end, as a share of the outer-eye distance,
        the mean over the trainings.
    aflw2000: of `mfnet.evaluation.protocol.aflw2000.summarise`.
    attribution: of `mfnet.evaluation.attribution`.
    """

    methods: dict[str, pd.DataFrame]
    ablation: dict[str, list[pd.DataFrame]]
    landmark_errors: dict[str, float]
    aflw2000: dict[str, dict[str, float | None]]
    attribution: pd.DataFrame

    @staticmethod
    def read(reports: Path, variants: Sequence[str], seeds: Sequence[int]) -> Measurements:
        """Read a run's figures.

        Args:
            reports: the folder.
            variants, seeds: of the ablation.

        Raises:
            UserError: a stage has not run.
        """
        names = {variant: [f"ablation/{variant}-{seed}" for seed in seeds] for variant in variants}
        return Measurements(
            {name: load_scores(reports / "per_image" / f"{name}.csv") for name in METHODS},
            {
                variant: [load_scores(reports / "per_image" / f"{name}.csv") for name in trainings]
                for variant, trainings in names.items()
            },
            {name: _landmark_error(reports, trainings) for name, trainings in {MFNET: [MFNET], **names}.items()},
            json.loads(_there(reports / "aflw2000/means.json").read_text()),
            pd.read_csv(_there(reports / "attribution.csv")),
        )

    @property
    def summaries(self) -> dict[str, dict[str, Any]]:
        """Method -> its means in the benchmark's groups."""
        return {name: summarise(table) for name, table in self.methods.items()}

    def as_scores(self) -> dict[str, Any]:
        """`reports/scores.json`: every mean there is, by method; the ablation's under `ablation`."""
        ablation: Mapping[str, Any] = {
            name: summarise(averaged(tables)) | {"landmark_error": self.landmark_errors[name]}
            for name, tables in self.ablation.items()
        }
        own = {"landmark_error": self.landmark_errors[MFNET], "aflw2000": self.aflw2000}
        summaries = self.summaries
        return {MFNET: summaries.pop(MFNET) | own, **summaries, "ablation": ablation}


def _landmark_error(reports: Path, trainings: Sequence[str]) -> float:
    curves = [pd.read_csv(_there(reports / "curves" / name / "validation.csv")) for name in trainings]
    return float(np.mean([curve["landmark_error_validation"].iloc[-1] for curve in curves]))


def _there(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"report: {path} is missing; run its stage")
    return path
