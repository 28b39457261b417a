"""Experiments as people run them, at the smallest size."""

import json
import subprocess

import pytest
from scratch_clone import Clone, mlflow_runs, ran

pytestmark = [pytest.mark.slow, pytest.mark.pipeline]


def test_one_weight_changed_trains_and_scores_one_network_and_leaves_the_ablation(clone: Clone) -> None:
    first = json.loads((clone.folder / "reports/metrics.json").read_text())
    rows = (clone.folder / "reports/tables/3.csv").read_text()
    done = clone.run("dvc", "exp", "run", "-S", "loss.eye=0", "--name", "no-eye")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert set(ran(done)) == {"train", "evaluate", "refined", "attribution", "aflw2000", "report"}
    assert (clone.folder / "reports/tables/3.csv").read_text() == rows
    caption = (clone.folder / "reports/tables/3.md").read_text()
    assert "its loss is other than MFNet's: eye 1.0 for 0.0" in caption
    metrics = json.loads((clone.folder / "reports/metrics.json").read_text())
    assert metrics["mfnet"] != first["mfnet"]
    assert metrics["mean_head"] == first["mean_head"]
    # What the ablation has trained without that term is the same network.
    scores = json.loads((clone.folder / "reports/scores.json").read_text())
    assert scores["ablation"]["no_eye"]["wild"] == scores["mfnet"]["wild"]
    # On one screen: what was changed beside the numbers that it changed.
    shown = clone.run("dvc", "exp", "show", "--only-changed", "--no-pager", "--drop", "Created|refined|.*/")
    assert max(map(len, shown.stdout.splitlines())) <= 120
    assert "models/" not in shown.stdout
    for name in ("no-eye", "mfnet.wild", "mfnet.lab", "loss.eye"):
        assert name in shown.stdout
    runs = {run["name"]: run for run in mlflow_runs(clone.folder)}
    assert runs["pipeline no-eye"]["params"]["loss.eye"] == "0"
    subprocess.run(["git", "checkout", "-q", "."], cwd=clone.folder, check=True)


def test_an_experiment_in_a_copy_of_the_repository_keeps_its_runs_here(clone: Clone) -> None:
    before = {run["id"] for run in mlflow_runs(clone.folder)}
    done = clone.run("dvc", "exp", "run", "--temp", "-S", "loss.lip=0", "--name", "elsewhere", "train")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    added = {run["name"]: run for run in mlflow_runs(clone.folder) if run["id"] not in before}
    assert {"pipeline elsewhere", "train"} == set(added)
    assert added["train"]["params"]["loss.lip"] == "0.0"
    # The artifacts lie beside this store, and not in the copy, which is removed.
    assert added["train"]["artifacts"].startswith((clone.folder / "mlartifacts").as_uri())
    assert list((clone.folder / "mlartifacts").glob("**/artifacts/model/model.safetensors"))
