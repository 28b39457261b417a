"""What flow adds to landmarks that are off: `python benchmarks/refinement.py` after a `make repro`.

Refines MFNet's answers, from three views in front of their pinholes, by landmarks alone and by landmarks and the
flow of each estimator, with landmarks that are exact, that err as a detector's do, and twice as much. Prints lab CD in
mm, the difference from landmarks alone over the same people with its interval, and seconds per person.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mfnet.config import load_params
from mfnet.data.facescape import Benchmark
from mfnet.data.landmarks import EXACT_SIDECAR, Sidecar, exact_landmarks
from mfnet.errors import UserError
from mfnet.evaluation.benchmark import plan, run
from mfnet.evaluation.methods.jobs import Job, Photographs
from mfnet.evaluation.methods.parametric import ParametricMethod
from mfnet.evaluation.statistics.uncertainty import paired_difference
from mfnet.reconstruct import Reconstructor

ERROR_SCALES = (0.0, 1.0, 2.0)
LANDMARKS_ALONE = "none"
# The fit is told that landmarks err by this share of `fit.noise` at least: its least squares need some noise.
LEAST_SCALE = 0.1


class Erring:
    """Landmarks of generated photographs: the exact ones, off by so many times what the side file's are off."""

    def __init__(self, root: Path, times: float) -> None:
        exact = exact_landmarks(root)
        if exact is None:
            raise UserError(
                f"refinement: {root} has no {EXACT_SIDECAR}; only generated photographs have exact landmarks"
            )
        self._exact, self._detected, self._times = exact, Sidecar(root), times

    def __call__(self, relative_path: str, image: np.ndarray) -> np.ndarray | None:
        """See LandmarkDetector."""
        exact, detected = self._exact(relative_path, image), self._detected(relative_path, image)
        return None if exact is None or detected is None else exact + self._times * (detected - exact)


def rows(estimators: Sequence[str], jobs: list[Job]) -> list[dict[str, object]]:
    """A row per size of the error and estimator."""
    params = load_params()
    root = params.data.facescape
    start = Reconstructor.load(Path("models/mfnet"))
    measured = []
    for scale in ERROR_SCALES:
        photographs = Photographs(root, Erring(root, scale))
        told = params.fit.model_copy(update={"noise": max(scale, LEAST_SCALE) * params.fit.noise})
        by_landmarks: list[pd.DataFrame] = []
        for estimator in (LANDMARKS_ALONE, *estimators):
            flow = {"rounds": 0} if estimator == LANDMARKS_ALONE else {"estimator": estimator}
            method = ParametricMethod(
                start.refined(told.model_copy(update=flow), 1), photographs, params.evaluate.submit
            )
            began = time.monotonic()
            method(jobs)
            seconds = (time.monotonic() - began) / len(jobs)
            table = run(method, jobs, params.engine.workers)
            table = table[table["setting"] == "three_view"]
            row = {"errors": scale, "flow": estimator, "CD": table["cd_mm"].mean(), "s": seconds}
            if estimator == LANDMARKS_ALONE:
                by_landmarks = [table]
            else:
                gain = paired_difference([table], by_landmarks)
                row["difference"] = f"{gain.mean:+.2f} [{gain.low:.2f}, {gain.high:.2f}] of {gain.n_people}"
            measured.append(row)
            print(row, flush=True)
    return measured


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--estimators", nargs="+", default=["dis", "packaged"])
    parser.add_argument("--views", nargs="+", type=int, default=[0, 9])
    options = parser.parse_args()
    jobs = [job for job in plan(Benchmark(load_params().data.facescape), options.views) if job.setting == "three_view"]
    print(pd.DataFrame(rows(options.estimators, jobs)).to_markdown(index=False, floatfmt=".2f"))


if __name__ == "__main__":
    main()
