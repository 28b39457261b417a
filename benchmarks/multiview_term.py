"""What equation 6 gives in each of its forms: `python benchmarks/multiview_term.py` after a `make repro`.

Trains `no_multiop` and every form once per seed on what the pipeline has prepared, and prints the lab CD from three
views and from one as mean and spread (standard deviation) over the seeds, and the difference from training without the
term, seed by seed; as the benchmark has it, and before the true pinholes. `exact` is the precomputed form with the
generated photographs' true flow: what no estimator can beat. What has been measured with the same settings is read back
from `data/multiview_term/`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import pandas as pd
from exact_flow import write_exact_flow
from training_trial import changed, train_and_score

from mfnet.config import Params, load_params

WITHOUT = "no_multiop"
EXACT = "exact"
FORMS = (WITHOUT, "in_loop", "measured", "precomputed", EXACT)
FOLDER = Path("data/multiview_term")
EXACT_FLOW = FOLDER / "exact_flow"
SCORES = {
    "lab_three_view_cd_mm": "three views",
    "lab_single_view_cd_mm": "one view",
    "lab_three_view_cd_mm_pinhole": "three views, pinhole",
    "lab_single_view_cd_mm_pinhole": "one view, pinhole",
}


def of_form(params: Params, settings: list[str], form: str, seed: int) -> Params:
    """The training of a form, or of no form at all, with a seed and other settings."""
    named = "precomputed" if form == EXACT else form
    chosen = ["loss.multiop=0"] if form == WITHOUT else [f"loss.multiop_form={named}"]
    return changed(params, [*settings, "train.further_seeds=[]", f"seed={seed}", *chosen])


def measured(params: Params, exact: bool) -> dict[str, float]:
    """The scores of a training, read back where it has been done before."""
    settings = params.model_dump_json(exclude={"engine", "synthesize", "fit"}) + (EXACT if exact else "")
    target = FOLDER / hashlib.blake2b(settings.encode(), digest_size=6).hexdigest()
    known = target.with_suffix(".json")
    if not known.is_file():
        known.parent.mkdir(parents=True, exist_ok=True)
        flow = EXACT_FLOW if exact else Path("data/flow")
        known.write_text(json.dumps(train_and_score(params, target, flow)) + "\n")
    scores: dict[str, float] = json.loads(known.read_text())
    return scores


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row per form: minutes, CD as mean and spread over the seeds, and how much less than without the term."""
    rows = []
    without = table[table["form"] == WITHOUT].set_index("seed")
    for form, trainings in table.groupby("form", sort=False):
        row: dict[str, object] = {"form": form, "seeds": len(trainings), "minutes": trainings["minutes"].mean()}
        for column, name in SCORES.items():
            values = trainings.set_index("seed")[column]
            row[f"{name}, mm"] = f"{values.mean():.2f} ± {values.std():.2f}"
            if form != WITHOUT and len(without):
                gain = values - without[column]
                row[f"{name}, difference"] = f"{gain.mean():+.2f} ({', '.join(f'{one:+.2f}' for one in gain)})"
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Train what has not been trained, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("-S", "--set", action="append", default=[], metavar="KEY=VALUE", help="of params.yaml")
    chosen = parser.parse_args()
    params = load_params()
    if EXACT in chosen.forms and not EXACT_FLOW.is_dir():
        write_exact_flow(pd.read_parquet("data/triplets.parquet"), params, EXACT_FLOW)
    rows = []
    for seed in chosen.seeds:
        for form in chosen.forms:
            trial = of_form(params, chosen.set, form, seed)
            rows.append({"form": form, "seed": seed, **measured(trial, form == EXACT)})
            print(json.dumps(rows[-1]), flush=True)
    print(summary(pd.DataFrame(rows)).to_markdown(index=False, floatfmt=".1f"))


if __name__ == "__main__":
    main()
