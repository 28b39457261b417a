"""What a generated tree knows of its photographs and people, and the side files that say it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mfnet.data.landmarks import EXACT_SIDECAR, write_sidecar
from mfnet.synthesis.detector import detected
from mfnet.synthesis.person import Person

PEOPLE = "people.csv"


class Outcome(NamedTuple):
    """Of one person's photographs: exact and detected, path -> landmarks [68, 2] in pixels; people: one row each."""

    exact: dict[str, np.ndarray]
    detected: dict[str, np.ndarray]
    people: list[dict[str, str | float]]

    def add(self, path: str, landmarks: np.ndarray, yaw: float, rng: np.random.Generator, scale: float) -> None:
        """A photograph at a path with these landmarks of a head at this yaw; detected off by the scale."""
        self.exact[path] = landmarks
        self.detected[path] = detected(landmarks, yaw, rng, scale)


def of_person(name: str, person: Person) -> Outcome:
    """Nothing yet but who it is."""
    return Outcome({}, {}, [{"person": name, **person.traits, "tone": person.look.tone}])


def write_outcomes(root: Path, outcomes: Iterable[Outcome]) -> dict[str, np.ndarray]:
    """Write landmarks.parquet, landmarks_exact.parquet and people.csv; returns the detected landmarks of all."""
    detected_landmarks: dict[str, np.ndarray] = {}
    exact: dict[str, np.ndarray] = {}
    people: list[dict[str, str | float]] = []
    for outcome in outcomes:
        detected_landmarks |= outcome.detected
        exact |= outcome.exact
        people += outcome.people
    write_sidecar(root, detected_landmarks)
    write_sidecar(root, exact, EXACT_SIDECAR)
    pd.DataFrame(people).to_csv(root / PEOPLE, index=False, float_format="%.3f")
    return detected_landmarks
