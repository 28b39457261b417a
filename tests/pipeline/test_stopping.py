"""A stage that is told to end: by Ctrl-C, or by whoever started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scratch_clone import ROOT, mlflow_runs

STAGE = """
import sys, time
from pathlib import Path
from pipeline.outputs import main, whole_folder
from pipeline.tracking import tracked

def stage():
    with tracked("train", {"a": 1}, []), whole_folder("model", resume=True) as folder:
        (folder / "begun").write_text("")
        time.sleep(120)

sys.argv = ["train.py"]
main(stage)
"""


@pytest.mark.parametrize("again", [0, 20])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stage_that_is_stopped_says_so_and_closes_its_runs(tmp_path: Path, how: signal.Signals, again: int) -> None:
    """However often it is told: DVC, torchrun and a terminal pass on what it has heard already."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    process = subprocess.Popen(
        [sys.executable, "-c", STAGE], cwd=tmp_path, env=environment | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    begun = tmp_path / "model.partial/begun"
    for _ in range(600):
        if begun.is_file():
            break
        time.sleep(0.2)
    process.send_signal(how)
    for _ in range(again):
        time.sleep(0.01)
        process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "stopped: train; the same command goes on from here"
    assert "Traceback" not in said
    assert not (tmp_path / "model").exists()
    assert {run["name"]: run["status"] for run in mlflow_runs(tmp_path)} == {"train": "KILLED", "pipeline": "KILLED"}
