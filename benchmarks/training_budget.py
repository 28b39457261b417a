"""What a longer training gives: the same settings with more steps, scored on held-out people and on the lab set.

`python benchmarks/training_budget.py 650 2050 6150` trains `full` once per number of steps on what the pipeline has
already prepared, prints a table and draws `docs/figures/training_budget.png`. Trainings that have been measured
before are read back from `data/training_budget.csv`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mfnet.config import Params, load_params
from mfnet.data.batches import TripletData
from mfnet.data.facescape import Benchmark
from mfnet.data.landmarks import landmark_detector
from mfnet.data.store import FaceStore
from mfnet.evaluation.benchmark import plan, run, summarise
from mfnet.evaluation.methods import ParametricMethod, Photographs
from mfnet.flow import load_flow_estimator
from mfnet.flow.store import FlowStore
from mfnet.head import load_head
from mfnet.reconstruct import Reconstructor
from mfnet.training import train

MEASURED = Path("data/training_budget.csv")
FIGURE = Path("docs/figures/training_budget.png")


def measure(params: Params, steps: int) -> dict[str, float]:
    """Train for so many steps; minutes, landmark error and lab CD from three views and from one."""
    longer = params.model_copy(update={"train": params.train.model_copy(update={"steps": steps})})
    table = pd.read_parquet("data/triplets.parquet")
    stores = (FaceStore(Path("data/faces")), FlowStore(Path("data/flow")))
    data = {split: TripletData(table, split, *stores) for split in ("train", "validation")}
    head = load_head(params.head)
    estimator = load_flow_estimator(params.flow.estimator, params.flow.updates)
    target = Path(f"data/training_budget/{steps}")
    began = time.monotonic()
    values = train(longer, "full", params.loss, data, head, estimator, target, lambda *_: None, lambda *_: None)
    minutes = (time.monotonic() - began) / 60
    root = params.data.facescape
    photographs = Photographs(root, landmark_detector(params.landmarks.detector, root))
    method = ParametricMethod(Reconstructor.load(target), photographs, params.evaluate.batch)
    jobs = [job for job in plan(Benchmark(root), params.evaluate.lab_views) if job.setting != "wild"]
    lab = summarise(run(method, jobs, params.engine.workers)[0])["lab"]
    return {
        "steps": steps,
        "minutes": minutes,
        "landmark_error_percent": 100 * values["landmark_error_validation"],
        "lab_three_view_cd_mm": lab["three_view"]["cd_mm"],
        "lab_single_view_cd_mm": lab["single_view"]["cd_mm"],
    }


def draw(table: pd.DataFrame, target: Path) -> None:
    """Landmark error and lab CD over minutes of training."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(table["minutes"], table["landmark_error_percent"], "o-")
    left.set(xlabel="minutes of training", ylabel="landmark error (% of outer-eye distance)")
    for column, label in (("lab_three_view_cd_mm", "three views"), ("lab_single_view_cd_mm", "one view")):
        right.plot(table["minutes"], table[column], "o-", label=label)
    right.set(xlabel="minutes of training", ylabel="lab CD (mm)")
    right.legend()
    for axis in (left, right):
        axis.set_xlim(left=0)
        axis.set_ylim(0, 1.08 * axis.get_ylim()[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


def main() -> None:
    """Measure what has not been measured, print and draw."""
    parser = argparse.ArgumentParser(description="What a longer training gives.")
    parser.add_argument("steps", nargs="+", type=int)
    wanted = parser.parse_args().steps
    known = pd.read_csv(MEASURED) if MEASURED.is_file() else pd.DataFrame({"steps": np.array([], int)})
    params = load_params()
    for steps in wanted:
        if steps not in set(known["steps"]):
            known = pd.concat([known, pd.DataFrame([measure(params, steps)])], ignore_index=True)
            known.to_csv(MEASURED, index=False)
    table = known[known["steps"].isin(wanted)].sort_values("steps")
    print(table.round(3).to_string(index=False))
    draw(table, FIGURE)


if __name__ == "__main__":
    main()
