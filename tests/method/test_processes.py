"""Several processes that train one network, beside one process with the same batches."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from workbench import Workbench

from mfnet.config import EngineParams
from mfnet.errors import UserError
from mfnet.method import processes
from mfnet.method.devices import is_first, open_fabric
from mfnet.method.draws import Draw
from mfnet.method.training import train

# Trains what a file holds, in as many processes as there are, and writes what the recorder was told.
TRAINING = """
import json, pickle, sys
from pathlib import Path
from mfnet.config import EngineParams
from mfnet.method.processes import n_processes
from mfnet.method.training import train

class Records:
    def __init__(self):
        self.rows = []
    def begin(self, start, step):
        pass
    def log(self, step, values):
        self.rows.append((step, values))
    def picture(self, step, image):
        pass

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    setting, material = pickle.loads((folder / "training.pkl").read_bytes())
    records = Records()
    train(setting, material, records, folder / "model", None, EngineParams(devices=2))
    assert n_processes() == 2
    if records.rows:
        with (folder / "rows.json").open("x") as file:
            json.dump(records.rows, file)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["precomputed", "measured"])
def test_two_processes_have_the_losses_of_one(bench: Workbench, tmp_path: Path, form: str) -> None:
    setting = bench.setting(multiop_pairs=2, steps=6, learning_rate=1e-4, multiop_after=0.5, fewer_views=0.5)
    loss = setting.loss.model_copy(update={"multiop_form": form})
    # From nothing codes start at zero, where the direction of equation 10's gradient is that of rounding errors.
    network = setting.network.model_copy(update={"weights": "packaged"})
    setting = replace(setting, loss=loss, network=network)
    (tmp_path / "training.pkl").write_bytes(pickle.dumps((setting, bench.material())))
    (tmp_path / "training.py").write_text(TRAINING)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *launcher, str(tmp_path / "training.py"), str(tmp_path)],
        check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    rows: list[tuple[int, dict[str, float]]] = []

    class Records:
        def begin(self, start: str, step: int) -> None: ...
        def picture(self, step: int, image: np.ndarray) -> None: ...
        def log(self, step: int, values: dict[str, float]) -> None:
            rows.append((step, values))

    train(setting, bench.material(), Records(), tmp_path / "alone", None)
    together = json.loads((tmp_path / "rows.json").read_text())
    assert [step for step, _ in together] == [step for step, _ in rows] == [1, 2, 3, 4, 5, 6]
    for (_, ours), (_, alone) in zip(together, rows, strict=True):
        for name, value in alone.items():
            if name != "steps_per_second":
                assert ours[name] == pytest.approx(value, rel=1e-4, abs=1e-4), name
    assert rows[-1][1]["loss_multiop"] > 0


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shares_are_disjoint_have_equally_many_pairs_and_are_all(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Draw.of_step(3, 0, 8, 0.5, 4)
    assert alone.rows is None
    assert alone.pairs is not None
    monkeypatch.setattr("mfnet.method.draws.n_processes", lambda: count)
    monkeypatch.setattr("mfnet.method.processes.n_processes", lambda: count)
    shares = []
    for rank in range(count):
        for module in ("draws", "processes"):
            monkeypatch.setattr(f"mfnet.method.{module}.process", lambda rank=rank: rank)
        shares.append(Draw.of_step(3, 0, 8, 0.5, 4))
    if count == 1:
        assert torch.equal(shares[0].pairs, alone.pairs)
        return
    assert sorted(torch.cat([share.rows for share in shares]).tolist()) == list(range(8))
    pairs = {tuple(pair) for pair in alone.pairs.tolist()}
    dealt = [(share.rows[row].item(), pair) for share in shares for row, pair in share.pairs.tolist()]
    assert set(dealt) == pairs
    assert {len(share.pairs) for share in shares} == {4 // count}
    for share in shares:
        assert torch.equal(share.telling, alone.telling[share.rows])


def test_alone_nothing_is_shared() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    assert processes.with_shared_statistics(network) is network
    assert type(network[0]) is torch.nn.BatchNorm2d
    value = torch.tensor(3.0, requires_grad=True)
    assert processes.mean_over_processes(value) is value


def test_tasks_that_slurm_means_as_cores_are_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "train"}.items():
        monkeypatch.setenv(name, value)
    assert open_fabric(EngineParams(), "32-true").world_size == 1
    monkeypatch.setenv("SLURM_PROCID", "2")
    assert is_first(EngineParams())
    assert not is_first(EngineParams(devices=4))


@pytest.mark.parametrize("tasks", [None, "3"])
def test_processes_that_nobody_has_started_are_one_line(tasks: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    # A batch script has these too, and is no step that srun has started.
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    if tasks:
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", tasks)
    with pytest.raises(UserError, match=rf"2 devices on 2 nodes need as many processes, and {tasks or 1} were started"):
        open_fabric(EngineParams(devices=2, nodes=2), "32-true")


def test_what_slurm_was_asked_for_otherwise_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    for name in ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("SLURM_PROCID", "0")
    with pytest.raises(UserError, match=r"^engine: .*--ntasks-per-node") as caught:
        open_fabric(EngineParams(devices=2), "32-true")
    assert "\n" not in str(caught.value)
