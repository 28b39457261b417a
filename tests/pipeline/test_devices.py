"""The stage of a training on more than one device."""

import os
import sys
from pathlib import Path

import psutil
import pytest
from scratch_clone import Clone, mlflow_runs

from pipeline.retrain.processes import run_child

pytestmark = [pytest.mark.slow, pytest.mark.pipeline]


def test_two_processes_train_one_network_and_one_of_them_reports(clone: Clone) -> None:
    before = {run["id"] for run in mlflow_runs(clone.folder)}
    clone.change({"engine": {"devices": 2}, "train": {"multiop_pairs": 2}})
    done = clone.run("dvc", "repro", "--single-item", "train")
    assert done.returncode == 0, done.stderr[-3000:]
    runs = [run for run in mlflow_runs(clone.folder) if run["id"] not in before]
    assert sorted(run["name"] for run in runs) == ["pipeline", "train"]
    assert {run["status"] for run in runs} == {"FINISHED"}
    assert (clone.folder / "models/mfnet/model.safetensors").is_file()
    assert not (clone.folder / "models/mfnet.partial").exists()


def test_what_goes_wrong_in_one_of_them_ends_all_in_its_own_sentence(clone: Clone) -> None:
    clone.change({"engine": {"devices": 2}, "train": {"multiop_pairs": 2}, "network": {"weights": "no/such.pth"}})
    done = clone.run("dvc", "repro", "--single-item", "train")
    assert done.returncode != 0
    assert "\nerror: network.weights: no file at no/such.pth" in done.stdout + done.stderr


def test_batches_that_cannot_be_shared_equally_are_refused(clone: Clone) -> None:
    clone.change({"engine": {"devices": 3}})
    done = clone.run("pipeline.stages.train")
    assert done.returncode == 1
    assert "train.batch 4 must be a multiple of engine.devices x engine.nodes, 3" in done.stderr


def test_one_that_is_stopped_leaves_none_of_its_processes(clone: Clone) -> None:
    clone.change({"engine": {"devices": 2}, "network": {"weights": "packaged"},
                  "train": {"multiop_pairs": 2, "steps": 2000, "checkpoint_every": 2}})  # fmt: skip
    checkpoint = clone.folder / "models/mfnet.partial/checkpoint.pt"
    checkpoint.unlink(missing_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | {"PATH": path}
    command = [sys.executable, "-m", "dvc", "--cd", str(clone.folder), "repro", "--single-item", "train"]

    def tell(line: str) -> None:
        # As Ctrl-C and Prefect's cancelling do, in the middle of the training.
        if checkpoint.is_file():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_child(command, environment, tell)
    here = [
        process.info for process in psutil.process_iter(["cmdline", "cwd"]) if process.info["cwd"] == str(clone.folder)
    ]
    assert not [one for one in here if "pipeline.stages.train" in (one["cmdline"] or [])]
    assert mlflow_runs(clone.folder)[0]["status"] == "KILLED"
