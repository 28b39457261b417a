"""A training that is killed at any moment, and goes on to the bytes that it would have had."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workbench import Workbench

ROOT = Path(__file__).parents[2]
# Trains what a file holds as the stage does: model and curves in folders that appear when they are whole.
TRAINING = """
import pickle, sys
from pathlib import Path
from safetensors.torch import save_file
from mfnet.method.checkpoint import remove_checkpoints
from mfnet.method.training import train
from pipeline.outputs import whole_folder
from pipeline.training_run import CurveRecorder

class Deaf:
    def tag(self, name, value): pass
    def metrics(self, values, step): pass
    def artifact(self, path, folder): pass

folder = Path(sys.argv[1])
setting, material = pickle.loads(Path(sys.argv[2]).read_bytes())
with whole_folder(folder / "curves", resume=True) as curves, whole_folder(folder / "model", resume=True) as model:
    recorder = CurveRecorder(curves, Deaf())
    network, _ = train(setting, material, recorder, model, None)
    recorder.write()
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, model / "weights.safetensors")
    remove_checkpoints(model)
"""


def begin(script: Path, folder: Path, training: Path) -> subprocess.Popen[bytes]:
    own = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, str(script), str(folder), str(training)], env=os.environ | own)


def wait_in_training(process: subprocess.Popen[bytes], checkpoint: Path, steps: int, share: float) -> None:
    """Until it has written so many checkpoints, one a step, and a share of a step's time has gone by since."""
    written, moments = written_at(checkpoint), [time.monotonic()]
    while len(moments) <= steps:
        assert process.poll() is None, "it has ended before it could be killed"
        newest = written_at(checkpoint)
        if newest not in (0, written):
            written = newest
            moments.append(time.monotonic())
        time.sleep(0.005)
    time.sleep(share * (moments[-1] - moments[-2]))


def written_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.minutes)])
def test_killed_at_random_moments_it_ends_in_the_same_bytes(bench: Workbench, tmp_path: Path, kills: int) -> None:
    training, script = tmp_path / "training.pkl", tmp_path / "training.py"
    setting = bench.setting(steps=8 * kills, checkpoint_every=1, picture_every=3, multiop_after=0.5)
    training.write_bytes(pickle.dumps((setting, bench.material())))
    script.write_text(TRAINING)
    assert begin(script, tmp_path / "unbroken", training).wait() == 0
    moments, checkpoint = random.Random(0), tmp_path / "killed/model.partial/checkpoint.pt"
    for _ in range(kills):
        process = begin(script, tmp_path / "killed", training)
        # At most six steps of eight, so that it never ends before it is killed, on however fast a machine.
        wait_in_training(process, checkpoint, moments.randint(2, 5), moments.random())
        process.kill()
        process.wait()
    assert begin(script, tmp_path / "killed", training).wait() == 0
    unbroken, resumed = contents(tmp_path / "unbroken"), contents(tmp_path / "killed")
    assert {"curves/losses.csv", "curves/step_000003.png", "model/weights.safetensors"} <= {*unbroken}
    assert sorted(resumed) == sorted(unbroken)
    assert [name for name, content in unbroken.items() if content != resumed[name]] == []
