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

# Trains what a file holds, and writes weights, curve and pictures into a folder that a kill leaves as it is.
TRAINING = """
import json, pickle, sys
from pathlib import Path
import cv2
from safetensors.torch import save_file
from mfnet.method.checkpoint import remove_checkpoints
from mfnet.method.training import train

class Records:
    def __init__(self, folder):
        self.folder, self.rows = folder, []
    def begin(self, start, step):
        for path in self.folder.glob("step_*.png"):
            if int(path.stem[5:]) > step:
                path.unlink()
    def log(self, step, values):
        self.rows.append([step, {name: value for name, value in values.items() if name != "steps_per_second"}])
    def picture(self, step, image):
        cv2.imwrite(str(self.folder / f"step_{step:04d}.png"), image)

folder = Path(sys.argv[1])
setting, material = pickle.loads(Path(sys.argv[2]).read_bytes())
records = Records(folder)
network, _ = train(setting, material, records, folder, None)
remove_checkpoints(folder)
save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / "weights.safetensors")
(folder / "rows.json").write_text(json.dumps(records.rows))
"""


def begin(script: Path, folder: Path, training: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), str(training)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.minutes)])
def test_killed_at_random_moments_it_ends_in_the_same_bytes(bench: Workbench, tmp_path: Path, kills: int) -> None:
    training, script = tmp_path / "training.pkl", tmp_path / "training.py"
    setting = bench.setting(steps=8 * kills, checkpoint_every=1, picture_every=3, multiop_after=0.5)
    training.write_bytes(pickle.dumps((setting, bench.material())))
    script.write_text(TRAINING)
    assert begin(script, tmp_path / "unbroken", training).wait() == 0
    moments, checkpoint = random.Random(0), tmp_path / "killed/checkpoint.pt"
    for _ in range(kills):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = begin(script, tmp_path / "killed", training)
        # It comes further each time: one checkpoint is waited for, then it ends at any moment.
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 1))
        assert process.poll() is None, "it has ended before it could be killed"
        process.kill()
        process.wait()
    assert begin(script, tmp_path / "killed", training).wait() == 0
    unbroken, resumed = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("unbroken", "killed")
    )
    assert sorted(resumed) == sorted(unbroken)
    assert [name for name, content in unbroken.items() if content != resumed[name]] == []
