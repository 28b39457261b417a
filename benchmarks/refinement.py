"""What flow adds to landmarks that are off: `python benchmarks/refinement.py` after a `make repro`.

Refines the first variant's answers, from three views before their pinholes, by landmarks alone and by landmarks and the
flow of each estimator, with Gaussian noise of several sizes on the landmarks, which the fits are told. Prints lab CD
and seconds per person, one after the other.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mfnet.config import load_params
from mfnet.data.crop import crop_around
from mfnet.data.facescape import Benchmark
from mfnet.data.landmarks import LandmarkDetector, landmark_detector
from mfnet.evaluation.benchmark import plan, run
from mfnet.evaluation.methods import Given, Job, ParametricMethod, Photographs
from mfnet.reconstruct import Reconstructor

NOISES = (0.0, 0.02, 0.04)
LANDMARKS_ALONE = "none"


class Unsteady:
    """A detector whose landmarks are off: by so much of half a crop, the same for the same photograph."""

    def __init__(self, detector: LandmarkDetector, noise: float, crop_scale: float) -> None:
        self._detector, self._noise, self._crop_scale = detector, noise, crop_scale

    def __call__(self, relative_path: str, image: np.ndarray) -> np.ndarray | None:
        """See LandmarkDetector."""
        points = self._detector(relative_path, image)
        if points is None:
            return None
        rng = np.random.default_rng(list(relative_path.encode()))
        half_crop = crop_around(points, self._crop_scale).side / 2
        return points + rng.normal(size=points.shape) * self._noise * half_crop


def rows(estimators: Sequence[str], jobs: list[Job]) -> list[dict[str, object]]:
    """A row per noise and estimator."""
    params = load_params()
    root = params.data.facescape
    start = Reconstructor.load(Path("models") / params.train.variants[0])
    found = []
    for noise in NOISES:
        steady = landmark_detector(params.landmarks.detector, root)
        photographs = Photographs(root, Unsteady(steady, noise, params.data.crop_scale))
        told = params.fit.model_copy(update={"noise": max(noise, params.fit.noise)})
        for estimator in estimators:
            flow = {"rounds": 0} if estimator == LANDMARKS_ALONE else {"estimator": estimator}
            method = ParametricMethod(start.refined(told.model_copy(update=flow), 1), photographs, params.evaluate)
            began = time.monotonic()
            predictions = method(jobs)
            seconds = (time.monotonic() - began) / len(jobs)
            table = run(Given(method.faces, jobs, predictions), jobs, params.engine.workers)
            found.append({"noise": noise, "flow": estimator, "CD, mm": table["cd_mm"].mean(), "s": seconds})
            print(found[-1], flush=True)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--estimators", nargs="+", default=[LANDMARKS_ALONE, "dis", "packaged"])
    parser.add_argument("--views", nargs="+", type=int, default=[0, 9])
    chosen = parser.parse_args()
    jobs = [job for job in plan(Benchmark(load_params().data.facescape), chosen.views) if job.setting == "three_view"]
    print(pd.DataFrame(rows(chosen.estimators, jobs)).to_markdown(index=False, floatfmt=".2f"))


if __name__ == "__main__":
    main()
