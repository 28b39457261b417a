"""What equation 6 gives in each of its forms: `python benchmarks/multiview_term.py` after a `make repro`.

Trains `no_multiop` and every form once per seed on what the pipeline has prepared, and prints the lab CD from three
views and from one as mean and spread (standard deviation) over the seeds, and the difference from training without the
term, seed by seed; by the rule of FaceScape's loaders, and at own size. `exact` is the precomputed form with the
generated photographs' true flow: what no estimator can beat.
"""

from __future__ import annotations

import argparse
import json

import pandas as pd
from exact_flow import write_exact_flow
from trials import FACES, FLOW, FOLDER, TRIPLETS, changed, trial

from mfnet.config import Params, load_params
from pipeline.outputs import whole_folder
from pipeline.tracking import made_from

WITHOUT = "no_multiop"
EXACT = "exact"
FORMS = (WITHOUT, "in_loop", "measured", "precomputed", EXACT)
SCORES = {
    "wild": "wild",
    "three_view": "three views",
    "single_view": "one view",
    "three_view_own_size": "three views, own size",
    "single_view_own_size": "one view, own size",
}


def of_form(params: Params, settings: list[str], form: str, seed: int) -> Params:
    """The training of a form, or of no form at all, with a seed and other settings."""
    named = "precomputed" if form == EXACT else form
    of_loss = ["loss.multiop=0"] if form == WITHOUT else [f"loss.multiop_form={named}"]
    return changed(params, [*settings, f"seed={seed}", *of_loss])


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
    options = parser.parse_args()
    params = load_params()
    # Other people or another stride are another folder.
    exact_flow = FOLDER / f"exact_flow-{made_from([TRIPLETS, FACES])}-{params.flow.stride}"
    if EXACT in options.forms and not exact_flow.is_dir():
        with whole_folder(exact_flow) as folder:
            write_exact_flow(pd.read_parquet(TRIPLETS), params, folder)
    rows = []
    for seed in options.seeds:
        for form in options.forms:
            of_this = of_form(params, options.set, form, seed)
            flow = exact_flow if form == EXACT else FLOW
            rows.append({"form": form, "seed": seed, **trial(of_this, flow)})
            print(json.dumps(rows[-1]), flush=True)
    print(summary(pd.DataFrame(rows)).to_markdown(index=False, floatfmt=".1f"))


if __name__ == "__main__":
    main()
