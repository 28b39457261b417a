"""A tracking server that is away for a while."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from servers import MlflowServer

from pipeline import tracking
from pipeline.unsent import RunLog

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path / "server")
    server.start()
    repository = tmp_path / "repository"
    repository.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    monkeypatch.chdir(repository)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv(tracking.PARENT_VARIABLE, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    yield server
    server.stop()
    mlflow.set_tracking_uri(None)


def steps_of(run_id: str) -> list[int]:
    return [metric.step for metric in MlflowClient().get_metric_history(run_id, "loss")]


def test_what_a_server_that_is_away_is_not_told_arrives_with_the_next_stage(
    server: MlflowServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "step_000003.png"
    picture.write_bytes(b"a picture")
    with tracking.tracked("train", {}, []) as run:
        log = RunLog(MlflowClient(), run.info.run_id, tracking.unsent_folder())
        log.metrics({"loss": 3.0}, 1)
        log.close()
        log = RunLog(MlflowClient(), run.info.run_id, tracking.unsent_folder())
        server.stop()
        began = time.monotonic()
        log.metrics({"loss": 2.0}, 2)
        log.artifact(picture, "pictures")
        log.tag("mfnet.model", "digest")
        # Nobody waits for it in the middle of a training.
        assert time.monotonic() - began < 1
        log.close(patience=1)
        picture.unlink()
    run_id = run.info.run_id
    assert time.monotonic() - began < 60
    assert f"what run {run_id} could not be told lies in" in capsys.readouterr().err
    server.start()
    assert steps_of(run_id) == [1]
    assert MlflowClient().get_run(run_id).info.status == "RUNNING"
    tracking.connect()
    assert steps_of(run_id) == [1, 2]
    late = MlflowClient().get_run(run_id)
    assert late.info.status == "FINISHED"
    assert late.data.tags["mfnet.model"] == "digest"
    assert Path(MlflowClient().download_artifacts(run_id, "pictures/step_000003.png")).read_bytes() == b"a picture"
    assert not list(tracking.unsent_folder().iterdir())
    assert {one.info.status for one in MlflowClient().search_runs(["1"])} == {"FINISHED"}


def test_what_is_told_while_it_is_away_arrives_when_it_is_back(server: MlflowServer) -> None:
    with tracking.tracked("train", {}, []) as run:
        log = RunLog(MlflowClient(), run.info.run_id, tracking.unsent_folder())
        server.stop()
        for step in (1, 2, 3):
            log.metrics({"loss": 1.0 / step}, step)
        time.sleep(1)
        server.start()
        log.close(patience=60)
    assert steps_of(run.info.run_id) == [1, 2, 3]
    assert not tracking.unsent_folder().exists()


def test_what_a_server_refuses_is_left_out_and_what_follows_arrives(
    server: MlflowServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "gone.png"
    picture.write_bytes(b"a picture")
    with tracking.tracked("train", {}, []) as run:
        log = RunLog(MlflowClient(), run.info.run_id, tracking.unsent_folder())
        log.tag("", "a tag without a name")
        picture.unlink()
        log.artifact(picture, "pictures")
        log.metrics({"loss": 1.0}, 1)
        log.close()
    assert steps_of(run.info.run_id) == [1]
    said = capsys.readouterr().err
    assert f"mlflow: tag of run {run.info.run_id} left out" in said
    assert f"mlflow: artifact of run {run.info.run_id} left out" in said
    assert not tracking.unsent_folder().exists()


def test_a_stage_that_is_stopped_while_it_is_away_ends_at_once_and_is_closed_later(server: MlflowServer) -> None:
    def stage() -> None:
        with tracking.tracked("train", {}, []) as run, RunLog(MlflowClient(), run.info.run_id, unsent) as log:
            server.stop()
            log.metrics({"loss": 1.0}, 1)
            stopped.append((run.info.run_id, time.monotonic()))
            raise KeyboardInterrupt

    stopped: list[tuple[str, float]] = []
    unsent = tracking.unsent_folder()
    with pytest.raises(KeyboardInterrupt):
        stage()
    ((run_id, began),) = stopped
    assert time.monotonic() - began < 10
    server.start()
    tracking.connect()
    assert {one.info.status for one in MlflowClient().search_runs(["1"])} == {"KILLED"}
    assert steps_of(run_id) == [1]


def test_what_is_damaged_or_of_another_server_is_left_alone(
    server: MlflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    tracking.connect()
    unsent = tracking.unsent_folder()
    for name, content in (("damaged", "no JSON"), ("another's", '{"server": "http://elsewhere", "entries": []}')):
        (unsent / name).mkdir(parents=True)
        (unsent / name / "entries.json").write_text(content)
    (unsent / "deleted").mkdir()
    of_a_run = [{"kind": "tag", "name": "a", "value": "b"}]
    (unsent / "deleted/entries.json").write_text(json.dumps({"server": server.url, "entries": of_a_run}))
    tracking.connect()
    assert f"mlflow: {unsent}/damaged/entries.json is damaged" in capsys.readouterr().err
    assert sorted(path.name for path in unsent.iterdir()) == ["another's", "damaged"]
