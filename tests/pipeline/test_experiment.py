"""One weight changed by `dvc exp run -S`, at the smallest size."""

import json
import subprocess

import pandas as pd
import pytest
from scratch_clone import Clone, ran

pytestmark = [pytest.mark.slow, pytest.mark.pipeline]


def test_changing_a_loss_reruns_training_and_a_further_seed_adds_some(clone: Clone) -> None:
    done = clone.run("dvc", "exp", "run", "-S", "loss.eye=0", "-S", "train.further_seeds=[3]")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    # no_eye trains to the same bytes as before, so it is not scored again.
    stages = [name.split("@")[0] for name in ran(done)]
    after = {"refined", "attribution", "aflw2000", "report"}
    assert set(stages) == {"train", "train_again", "evaluate", "evaluate_again", *after}
    assert stages.count("train") == stages.count("train_again") == 2
    assert {"train_again@full-3", "evaluate_again@no_eye-3"} <= set(ran(done))
    differences = pd.read_csv(clone.folder / "reports/tables/differences.csv").set_index("method")
    assert differences["trainings"].tolist() == [1 if name == "refined" else 2 for name in differences.index]
    once, twice = (
        json.loads((clone.folder / f"reports/metrics/{name}.json").read_text()) for name in ("full", "full-3")
    )
    merged = json.loads((clone.folder / "reports/metrics.json").read_text())
    first, second, both = (found["lab"]["three_view"]["cd_mm"] for found in (once, twice, merged["full"]))
    assert first != second
    assert both == pytest.approx((first + second) / 2, abs=1e-5)
    clone.run("dvc", "exp", "remove", "-A")
    subprocess.run(["git", "checkout", "-q", "."], cwd=clone.folder, check=True)
