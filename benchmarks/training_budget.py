"""What a longer training gives: the same settings with more steps, scored on held-out people and on FaceScape's sets.

`python benchmarks/training_budget.py 650 2050 6150` trains `full` once per number of steps on what the pipeline has
already prepared, however many people and triplets these are, and prints a table; with `--draw` it draws
`data/training_budget/training_budget.png` too. Trainings that have been measured before, with the same settings and
code, are read back from `data/training_budget/measured.csv`.
"""

from __future__ import annotations

import argparse
from hashlib import blake2b
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from training_trial import changed, train_and_score

from mfnet.config import load_params
from pipeline.tracking import made_from

MEASURED = Path("data/training_budget/measured.csv")
KEY = ["people", "triplets", "steps", "made_from"]
INPUTS = ("data/triplets.parquet", "data/faces", "data/flow", "benchmarks/training_trial.py")
FIGURE = MEASURED.with_name("training_budget.png")


def draw(table: pd.DataFrame, target: Path) -> None:
    """Landmark error and lab CD over minutes of training."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(table["minutes"], table["landmark_error_percent"], "o-")
    left.set(xlabel="minutes of training", ylabel="landmark error (% of outer eyes)")
    for column, label in (("lab_three_view_cd_mm", "three views"), ("lab_single_view_cd_mm", "one view")):
        right.plot(table["minutes"], table[column], "o-", label=label)
    right.set(xlabel="minutes of training", ylabel="lab CD (mm)")
    right.legend()
    for axis in (left, right):
        axis.set_xlim(left=0)
        axis.set_ylim(0, 1.08 * axis.get_ylim()[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


def measured_before() -> dict[tuple, dict[str, float]]:
    """What `MEASURED` has; of an older form, which does not say what it was made from, nothing."""
    found = pd.read_csv(MEASURED, dtype={"made_from": str}) if MEASURED.is_file() else pd.DataFrame()
    return found.set_index(KEY).to_dict("index") if "made_from" in found else {}  # type: ignore[return-value]


def main() -> None:
    """Measure what has not been measured, print and draw."""
    parser = argparse.ArgumentParser(description="What a longer training gives.")
    parser.add_argument("steps", nargs="+", type=int)
    parser.add_argument("--draw", action="store_true", help="the figure too")
    chosen = parser.parse_args()
    known = measured_before()
    params, triplets = load_params(), pd.read_parquet("data/triplets.parquet")
    trained_on = triplets[triplets["split"] == "train"]
    people, keys = trained_on["subject"].nunique(), []
    inputs = [*map(Path, INPUTS), params.head.path, params.data.facescape]
    for steps in sorted(chosen.steps):
        longer = changed(params, [f"train.steps={steps}"])
        digest = blake2b((made_from(inputs) + longer.model_dump_json()).encode(), digest_size=6).hexdigest()
        keys.append((people, len(trained_on), steps, digest))
        if keys[-1] not in known:
            known[keys[-1]] = train_and_score(longer, Path("data/training_budget", "-".join(map(str, keys[-1]))))
            pd.DataFrame.from_dict(known, "index").rename_axis(KEY).to_csv(MEASURED)
    table = pd.DataFrame.from_dict({key: known[key] for key in keys}, "index").rename_axis(KEY).reset_index()
    print(table.drop(columns="made_from").round(2).to_string(index=False))
    if chosen.draw:
        draw(table, FIGURE)


if __name__ == "__main__":
    main()
