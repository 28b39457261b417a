"""What is done on Prefect's page: a run that is cancelled, a deployment in a work pool, a server that is restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests
from scratch_clone import Clone, mlflow_runs
from servers import PrefectServer

pytestmark = [pytest.mark.slow, pytest.mark.pipeline, pytest.mark.minutes]
LONG = {"train": {"steps": 2000, "checkpoint_every": 2, "picture_every": 2000}}
SHORT = {"train": {"steps": 4, "checkpoint_every": 4, "picture_every": 4}}


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    server.start()
    yield server
    server.stop()


def variables(prefect: PrefectServer) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Asked every two seconds what is to be begun or cancelled, not every ten or fifteen.
    often = {"PREFECT_RUNNER_POLL_FREQUENCY": "2", "PREFECT_WORKER_QUERY_SECONDS": "2"}
    return own | prefect.variables | often | {"PATH": path, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


@contextmanager
def running(clone: Clone, prefect: PrefectServer, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    log = (clone.folder / "tmp_process.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=clone.folder, env=variables(prefect), stdout=log, stderr=log,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


def post(prefect: PrefectServer, path: str, body: dict) -> dict | list:  # type: ignore[type-arg]
    answer = requests.post(f"{prefect.variables['PREFECT_API_URL']}/{path}", json=body)
    answer.raise_for_status()
    return answer.json()


def begin(prefect: PrefectServer, deployment: str) -> str:
    """Press *Run* on the page of a deployment; gives the run's id."""
    url = f"{prefect.variables['PREFECT_API_URL']}/deployments/name/mfnet-retrain/{deployment}"
    wait_for(lambda: requests.get(url).ok, 120)
    return post(prefect, f"deployments/{requests.get(url).json()['id']}/create_flow_run", {})["id"]  # type: ignore[call-overload]


def state(prefect: PrefectServer, run_id: str) -> str:
    return requests.get(f"{prefect.variables['PREFECT_API_URL']}/flow_runs/{run_id}").json()["state"]["type"]


def wait_for(happened: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def trainings(clone: Clone) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if "pipeline.stages.train" in (process.info["cmdline"] or []) and process.info["cwd"] == str(clone.folder):
            found.append(process)
    return found


def test_a_run_that_is_cancelled_leaves_no_child_and_no_run_that_runs(clone: Clone, prefect: PrefectServer) -> None:
    clone.change(LONG)
    checkpoint = clone.folder / "models/mfnet.partial/checkpoint.pt"
    with running(clone, prefect, "pipeline.retrain", "serve", "--cron", "0 3 1 1 *"):
        run_id = begin(prefect, "scheduled")
        wait_for(checkpoint.is_file, 240)
        assert trainings(clone)
        post(prefect, f"flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})
        wait_for(lambda: state(prefect, run_id) == "CANCELLED", 120)
        assert not trainings(clone)
    newest = mlflow_runs(clone.folder)[0]
    assert newest["status"] == "KILLED"
    assert {run["status"] for run in mlflow_runs(clone.folder)} <= {"FINISHED", "KILLED"}
    assert checkpoint.is_file()


def test_a_work_pool_runs_what_prefect_yaml_deploys(clone: Clone, prefect: PrefectServer) -> None:
    clone.change(SHORT)
    for command in (["work-pool", "create", "mfnet", "--type", "process"], ["deploy", "--all"]):
        subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *command], cwd=clone.folder, env=variables(prefect),
            check=True, timeout=120,
        )  # fmt: skip
    url = f"{prefect.variables['PREFECT_API_URL']}/deployments/name/mfnet-retrain/weekly"
    (schedule,) = requests.get(url).json()["schedules"]
    assert schedule["schedule"]["cron"] == "0 3 * * 1"
    with running(clone, prefect, "prefect", "worker", "start", "--pool", "mfnet"):
        run_id = begin(prefect, "weekly")
        wait_for(lambda: state(prefect, run_id) in ("COMPLETED", "FAILED", "CRASHED"), 400)
        assert state(prefect, run_id) == "COMPLETED", (clone.folder / "tmp_process.log").read_text()[-3000:]


def begin_long(clone: Clone, prefect: PrefectServer, steps: int, **more: str) -> subprocess.Popen[str]:
    """Begin a retraining by hand, with more variables, and come back in the middle of its training."""
    # A run that was cancelled has left one, of a training that this one does not go on with.
    checkpoint = clone.folder / "models/mfnet.partial/checkpoint.pt"
    checkpoint.unlink(missing_ok=True)
    clone.change({"train": {"steps": steps, "checkpoint_every": 2, "picture_every": steps}})
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.retrain"], cwd=clone.folder, env=variables(prefect) | more, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    wait_for(lambda: checkpoint.is_file() or process.poll() is not None, 240)
    assert trainings(clone)
    return process


def newest_by_hand(prefect: PrefectServer) -> dict:  # type: ignore[type-arg]
    # Those of deployments wait for their schedules.
    runs = post(prefect, "flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC"})
    return next(run for run in runs if run["deployment_id"] is None)  # type: ignore[index]


def test_a_server_that_is_restarted_meanwhile_is_told_the_end(clone: Clone, prefect: PrefectServer) -> None:
    process = begin_long(clone, prefect, steps=60)
    prefect.stop()
    time.sleep(3)
    prefect.start()
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said[-3000:]
    assert newest_by_hand(prefect)["state"]["type"] == "COMPLETED"
    assert {run["status"] for run in mlflow_runs(clone.folder)} <= {"FINISHED", "KILLED"}


def test_a_server_that_is_only_starting_is_waited_for(clone: Clone, prefect: PrefectServer) -> None:
    prefect.stop()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.retrain"], cwd=clone.folder, env=variables(prefect), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    first = next(line for line in process.stderr if "Prefect server" in line)
    assert first == f"waits up to 60 s for the Prefect server at {prefect.variables['PREFECT_API_URL']}\n"
    prefect.start()
    said, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors[-3000:]
    assert "nothing new: the model is up to date" in said
    assert newest_by_hand(prefect)["state"]["type"] == "COMPLETED"


def test_a_server_that_stays_away_is_one_line(clone: Clone, prefect: PrefectServer) -> None:
    # Prefect's client tries five times each time that it wants something, which takes minutes.
    process = begin_long(clone, prefect, steps=30, PREFECT_CLIENT_MAX_RETRIES="1")
    prefect.stop()
    said, _ = process.communicate(timeout=400)
    prefect.start()
    assert process.returncode == 1
    url = prefect.variables["PREFECT_API_URL"]
    expected = f"error: retrain: no Prefect server answers at {url}; start it, or unset PREFECT_API_URL"
    # Prefect's threads have something to say after it.
    assert expected in said.splitlines(), said[-3000:]
