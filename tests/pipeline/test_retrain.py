"""Retraining against a real Prefect server and a real store of runs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
import requests
from filelock import FileLock
from mlflow.tracking import MlflowClient
from scratch_clone import ROOT, Clone, mlflow_runs

from mfnet.config import load_params
from pipeline.registry.logged import NAME
from pipeline.retrain import stages
from pipeline.retrain.news import look
from pipeline.retrain.server import scheduling_server
from pipeline.retrain.stages import can_pass

pytestmark = [pytest.mark.slow, pytest.mark.pipeline]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that name a Prefect server of this file's own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("prefect")
        patch.setenv("PREFECT_HOME", str(home))
        patch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", f"sqlite+aiosqlite:///{home / 'prefect.db'}")
        patch.chdir(home)
        with scheduling_server(port) as url:
            yield {"PREFECT_API_URL": url, "PREFECT_HOME": str(home)}


def retraining(clone: Clone, variables: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
                    "NUMBA_NUM_THREADS": "1", **variables}  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.retrain", *arguments], cwd=clone.folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], status: int = 0) -> str:
    said, _ = process.communicate(timeout=400)
    assert process.returncode == status, said[-4000:]
    return said


def prefect_runs(variables: dict[str, str], kind: str) -> list[dict]:  # type: ignore[type-arg]
    """Name, state and message of all flow runs or task runs, the newest first."""
    newest_first = {"sort": "EXPECTED_START_TIME_DESC"}
    asked = requests.post(f"{variables['PREFECT_API_URL']}/{kind}/filter", json=newest_first)
    return [
        {"name": run["name"], "state": run["state"]["type"], "why": run["state"]["message"]} for run in asked.json()
    ]


@pytest.mark.parametrize(
    ("sentence", "passes"),
    [
        ("error: mlflow: http://tracking:5000: Max retries exceeded with url: /api", True),
        ("ERROR: Unable to acquire lock. Most likely another DVC process is running", True),
        ("error: mlflow: the server answered with HTTP status 503", True),
        ("error: network.weights: no file at timed.pth", False),
        ("error: 503 photographs have no landmarks", False),
    ],
)
def test_what_can_pass_is_told_from_what_cannot(sentence: str, passes: bool) -> None:
    assert can_pass(sentence) == passes


def test_of_progress_and_counts_nothing_is_concluded(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["train: 503/2000", "429 photographs, connection refused to nobody", "error: CUDA is out of memory"]
    monkeypatch.setattr(stages, "run_child", lambda *arguments: (1, lines))
    with pytest.raises(stages.StageError, match="train: CUDA is out of memory") as caught:
        stages.run_stage("train", "run", False, print)
    assert not caught.value.passes


def test_before_anything_has_been_made_nothing_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = load_params(ROOT / "params.yaml")
    monkeypatch.chdir(tmp_path)
    assert not look(params)


def registry(clone: Clone) -> dict[str, dict]:  # type: ignore[type-arg]
    """Version -> its tags, and whether it is the champion."""
    client = MlflowClient(f"sqlite:///{clone.folder / 'mlflow.db'}")
    return {
        one.version: one.tags
        | {
            "champion": "champion" in client.get_model_version(NAME, one.version).aliases,
            "description": one.description,
        }
        for one in client.search_model_versions(f"name = '{NAME}'")
    }


def test_the_first_model_of_an_empty_registry_is_champion_if_it_beats_the_mean_head(
    clone: Clone, server: dict[str, str]
) -> None:
    told = clone.folder / "told.txt"
    clone.change({"retrain": {"notify": f"tee {told}"}})
    said = ended(retraining(clone, server))
    assert "version 1: the first champion: its wild CD" in said
    (only,) = registry(clone).values()
    assert only["champion"]
    # What a training has logged (in this small clone two have the same model), not something that was logged again.
    assert ", after 4 steps: " in only["description"]
    assert only["mfnet.decision"] in told.read_text()
    (artifact,) = requests.post(f"{server['PREFECT_API_URL']}/artifacts/filter", json={}).json()
    assert only["mfnet.decision"] in artifact["data"]
    assert "](data:image/jpeg;base64," in artifact["data"]
    newest = mlflow_runs(clone.folder)[0]
    assert newest["status"] == "FINISHED"
    page = Path(newest["artifacts"].removeprefix("file://")) / "retraining.md"
    assert page.read_text() == artifact["data"]


def test_nothing_new_ends_early_and_leaves_no_run(clone: Clone, server: dict[str, str]) -> None:
    before = mlflow_runs(clone.folder)
    said = ended(retraining(clone, server))
    assert "nothing new: the model is up to date" in said.splitlines()
    assert mlflow_runs(clone.folder) == before
    assert prefect_runs(server, "flow_runs")[0]["state"] == "COMPLETED"


def test_a_new_subject_trains_the_model_and_not_the_ablation(clone: Clone, server: dict[str, str]) -> None:
    # What a stage has made DVC would make again; a laboratory's tree is nobody's output.
    root = clone.folder / "data/own/multipie"
    shutil.copytree(clone.folder / "data/raw/multipie", root)
    clone.change({"data": {"multipie": "data/own/multipie"}})
    sidecar = pd.read_parquet(root / "landmarks.parquet")
    theirs = sidecar[sidecar["path"].str.contains("/003/")]
    renamed = theirs["path"].str.replace("/003/", "/049/").str.replace("/003_", "/049_")
    for source, target in zip(theirs["path"], renamed, strict=True):
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / source, root / target)
    pd.concat([sidecar, theirs.assign(path=renamed)]).to_parquet(root / "landmarks.parquet")
    ablation = clone.outputs()["ablation@full-0"]
    said = ended(retraining(clone, server))
    assert "new subjects: 049" in said
    assert "brought up to date: evaluate; version 2: the champion stays" in said
    assert [version["champion"] for version in registry(clone).values()].count(True) == 1
    faces = pd.concat(pd.read_parquet(path) for path in (clone.folder / "data/faces").glob("049_*.parquet"))
    assert len(faces) == len(theirs)
    tasks = {run["name"]: run["state"] for run in prefect_runs(server, "task_runs") if "look" not in run["name"]}
    stages_run = ("synthesize", "index", "preprocess", "flow", "train", "evaluate")
    assert tasks == dict.fromkeys((*stages_run, "baselines@mean_head", *tasks), "COMPLETED")
    assert {*stages_run} <= {*tasks}
    assert clone.outputs()["ablation@full-0"] == ablation
    trained = mlflow_runs(clone.folder)
    assert {run["status"] for run in trained} == {"FINISHED"}


def test_a_second_one_is_refused_where_that_is_asked_for(clone: Clone, server: dict[str, str]) -> None:
    clone.change({"retrain": {"overlap": "refuse"}})
    lock = clone.folder / ".dvc/tmp/retrain.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        said = ended(retraining(clone, server), status=1)
    assert "\nerror: retrain: another retraining of this folder is running" in said
    assert prefect_runs(server, "flow_runs")[0]["state"] == "FAILED"


def test_what_a_failed_stage_says_stands_on_prefects_page_and_it_is_not_tried_again(
    clone: Clone, server: dict[str, str]
) -> None:
    clone.change({"network": {"encoder": "compact", "weights": "no/such.pth"}})
    said = ended(retraining(clone, server), status=1)
    sentence = "train: network.weights: no file at no/such.pth"
    assert f"\nerror: {sentence}" in said
    run = prefect_runs(server, "flow_runs")[0]
    assert run["state"] == "FAILED"
    assert sentence in run["why"]
    tasks = [task["name"] for task in prefect_runs(server, "task_runs") if task["state"] == "FAILED"]
    assert tasks == ["train"]
    assert "retry" not in said.lower()
    clone.change({"network": {"weights": "packaged"}})


def test_one_that_is_stopped_leaves_no_child_and_what_it_had_begun(clone: Clone, server: dict[str, str]) -> None:
    clone.change({"train": {"steps": 400, "checkpoint_every": 2, "picture_every": 400}})
    process = retraining(clone, server)
    checkpoint = clone.folder / "models/mfnet.partial/checkpoint.pt"
    checkpoint.unlink(missing_ok=True)
    deadline = time.monotonic() + 300
    while not checkpoint.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    children = psutil.Process(process.pid).children(recursive=True)
    assert any("pipeline.stages.train" in " ".join(child.cmdline()) for child in children)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert {run["status"] for run in mlflow_runs(clone.folder)} <= {"FINISHED", "FAILED", "KILLED"}
    newest = mlflow_runs(clone.folder)[0]
    assert newest["status"] == "KILLED"
    assert checkpoint.is_file()


@pytest.mark.minutes
def test_a_second_one_waits_for_the_first_and_has_nothing_left_to_do(clone: Clone, server: dict[str, str]) -> None:
    short = {"steps": 4, "checkpoint_every": 4, "picture_every": 4, "learning_rate": 0.00003}
    clone.change({"train": short, "retrain": {"overlap": "wait"}})
    first, second = retraining(clone, server), retraining(clone, server)
    both = [ended(first), ended(second)]
    assert sorted("nothing new: the model is up to date" in said.splitlines() for said in both) == [False, True]
    assert {run["status"] for run in mlflow_runs(clone.folder)} <= {"FINISHED", "FAILED", "KILLED"}


@pytest.mark.minutes
def test_a_schedule_fires_twice(clone: Clone, server: dict[str, str]) -> None:
    clone.change({"train": {"steps": 4, "checkpoint_every": 4, "picture_every": 4}, "retrain": {"overlap": "wait"}})
    process = retraining(clone, server, "serve", "--cron", "* * * * *")
    try:
        deadline, runs = time.monotonic() + 600, []
        while len(runs) < 2 and time.monotonic() < deadline:
            time.sleep(5)
            asked = requests.post(f"{server['PREFECT_API_URL']}/flow_runs/filter", json={}).json()
            runs = [run for run in asked if run["deployment_id"] and run["state"]["type"] == "COMPLETED"]
        assert len(runs) >= 2
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
