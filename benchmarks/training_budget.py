"""What a longer training gives: the same settings with more steps, scored on held-out people and on the lab set.

`python benchmarks/training_budget.py 650 2050 6150` trains `full` once per number of steps on what the pipeline has
already prepared, prints a table and draws `docs/figures/training_budget.png`. Trainings that have been measured
before are read back from `data/training_budget.csv`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from training_trial import changed, train_and_score

from mfnet.config import load_params

MEASURED = Path("data/training_budget.csv")
FIGURE = Path("docs/figures/training_budget.png")


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
            longer = changed(params, [f"train.steps={steps}"])
            row = {"steps": steps, **train_and_score(longer, Path(f"data/training_budget/{steps}"))}
            known = pd.concat([known, pd.DataFrame([row])], ignore_index=True)
            known.to_csv(MEASURED, index=False)
    table = known[known["steps"].isin(wanted)].sort_values("steps")
    print(table.round(3).to_string(index=False))
    draw(table, FIGURE)


if __name__ == "__main__":
    main()
