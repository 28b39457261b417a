"""What a longer training gives: `python benchmarks/training_budget.py 650 2050 6150` after a `make repro`.

Trains MFNet once per number of steps on what the pipeline has prepared, however many people and triplets these are, and
prints a table; with `--draw PATH` it draws it too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from trials import TRIPLETS, changed, trial

from mfnet.config import load_params

_LAB = {"three_view_own_size": "three views", "single_view_own_size": "one view"}


def draw(table: pd.DataFrame, target: Path) -> None:
    """Landmark error and lab CD over minutes of training."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(table["minutes"], table["landmark_error_percent"], "o-")
    left.set(xlabel="minutes of training", ylabel="landmark error (% of outer eyes)")
    for column, name in _LAB.items():
        right.plot(table["minutes"], table[column], "o-", label=name)
    right.set(xlabel="minutes of training", ylabel="lab CD at own size (mm)")
    right.legend()
    for axis in (left, right):
        axis.set_xlim(left=0)
        axis.set_ylim(0, 1.08 * axis.get_ylim()[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


def main() -> None:
    """Measure what has not been measured, print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("steps", nargs="+", type=int)
    parser.add_argument("--draw", type=Path, help="a picture to write")
    options = parser.parse_args()
    params, triplets = load_params(), pd.read_parquet(TRIPLETS)
    trained_on = triplets[triplets["split"] == "train"]
    print(f"{trained_on['subject'].nunique()} people, {len(trained_on)} triplets")
    rows = [{"steps": steps, **trial(changed(params, [f"train.steps={steps}"]))} for steps in sorted(options.steps)]
    table = pd.DataFrame(rows)
    print(table.to_markdown(index=False, floatfmt=".2f"))
    if options.draw:
        draw(table, options.draw)


if __name__ == "__main__":
    main()
