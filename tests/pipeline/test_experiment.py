"""One weight changed by `dvc exp run -S`, at the smallest size."""

import subprocess

import pytest
from scratch_clone import Clone, ran

pytestmark = [pytest.mark.slow, pytest.mark.pipeline]


def test_changing_a_loss_reruns_training_and_what_follows(clone: Clone) -> None:
    done = clone.run("dvc", "exp", "run", "-S", "loss.eye=0")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    # no_eye trains to the same bytes as before, so it is not scored again.
    stages = [name.split("@")[0] for name in ran(done)]
    assert set(stages) == {"train", "evaluate", "refined", "attribution", "report"}
    assert stages.count("train") == 2
    clone.run("dvc", "exp", "remove", "-A")
    subprocess.run(["git", "checkout", "-q", "."], cwd=clone.folder, check=True)
