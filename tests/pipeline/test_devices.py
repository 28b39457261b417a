"""The stage of a training on more than one device."""

import pytest
from scratch_clone import Clone, mlflow_runs

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
