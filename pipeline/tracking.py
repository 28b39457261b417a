"""MLflow: a run per stage, nested under the run of its `dvc` or Prefect call; a network's own has its scores too."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import mlflow
import psutil
import yaml
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mfnet.errors import UserError
from pipeline.outputs import repository_root
from pipeline.unsent import deliver, ended, hurry, keep

# It says with every run that it has begun and ended.
logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
EXPERIMENT = "mfnet"
PARENT_VARIABLE = "MFNET_PIPELINE_RUN"
SCORES = "scores"
_TRIES = "4"
# Where MLflow's database has absolute paths of artifacts.
_PLACES = (("runs", "artifact_uri"), ("logged_models", "artifact_location"), ("model_versions", "storage_location"),
           ("model_versions", "source"))  # fmt: skip
_MODEL_SUFFIXES = (".json", ".npz", ".safetensors")
_DATABASE, _ARTIFACTS = "mlflow.db", "mlartifacts"
_PARENT_TAG, _CALL_TAG = "mlflow.parentRunId", "mfnet.call"
MODEL_TAG, BENCHMARK_TAG = "mfnet.model", "mfnet.benchmark"


@contextmanager
def tracked(
    stage: str, params: dict[str, Any], inputs: list[Path], variant: str | None = None, machine: bool = False
) -> Iterator[Run]:
    """An MLflow run for a stage, with its parameters, the git commit and its inputs' hashes.

    Args:
        stage: its name in dvc.yaml.
        params: nested; logged flat, `train.steps`.
        inputs: files and folders it reads; their hashes are taken from dvc.lock.
        variant: of a matrix stage.
        machine: whether processor, memory and GPU are logged beside it, every ten seconds.
    """
    client = connect()
    parent = _parent_run(client)
    tags = {"stage": stage, "git_commit": _git_commit(), _PARENT_TAG: parent}
    if variant:
        tags["variant"] = variant
    tags |= {f"input.{path}": digest for path, digest in input_hashes(inputs).items()}
    name = f"{stage}@{variant}" if variant else stage
    # No stage is the last that a `dvc` call runs: each leaves the call's run as it leaves its own.
    with _ending(client, None if PARENT_VARIABLE in os.environ else parent):
        run = mlflow.start_run(run_name=name, tags=tags, log_system_metrics=machine)
        with _ending(client, run.info.run_id):
            mlflow.log_params(_flat(params))
            yield run


@contextmanager
def tracked_pipeline(name: str) -> Iterator[str]:
    """An MLflow run for a whole pipeline, for stages to be nested under; gives its id."""
    client = connect()
    run = mlflow.start_run(run_name=name, tags={"git_commit": _git_commit()})
    with _ending(client, run.info.run_id):
        mlflow.log_params(_all_params())
        yield run.info.run_id


@contextmanager
def _ending(client: MlflowClient, run_id: str | None) -> Iterator[None]:
    """End a run as its block ends: FINISHED, FAILED, or KILLED where somebody stops it; later, if the server is away.

    None is a run that somebody else ends.
    """
    # Ctrl-C, SIGTERM, and what Prefect makes of it, are no errors.
    status = "KILLED"
    try:
        yield
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        if status == "KILLED":
            hurry()
        active = mlflow.active_run()
        try:
            if active is not None and active.info.run_id == run_id:
                mlflow.end_run(status)
            elif run_id is not None:
                client.set_terminated(run_id, status)
        except MlflowException:
            keep(unsent_folder(), str(run_id), [ended(status)])


def unsent_folder() -> Path:
    """Where what a server that is away could not be told waits for the next stage."""
    return repository_root() / ".dvc/tmp/unsent"


def log_metrics(metrics: dict[str, Any], step: int | None = None) -> None:
    """Log numbers of a nested dictionary to the active run, `wild.0-5`; what is null is left out."""
    mlflow.log_metrics(_numbers(metrics), step=step)


def log_scores(folder: Path, scores: dict[str, Any], benchmark: str, per_image: Path) -> None:
    """Log a model's scores to the run that trained it; to the active one where no run is known to have.

    Args:
        folder: of the model.
        scores: nested.
        benchmark: names what was scored and how. Scores on one benchmark never take the place of those on another.
        per_image: the file that the scores are means of.
    """
    client = MlflowClient()
    trained = trained_by(client, model_digest(folder))
    # Two trainings with the same settings give the same model, and have the same scores.
    fitting = [run for run in trained if run.data.tags.get(BENCHMARK_TAG, benchmark) == benchmark]
    if not fitting:
        log_metrics(scores)
    for run in trained:
        with tempfile.TemporaryDirectory() as folder_of_copy:
            copy = Path(folder_of_copy) / Path(scores_artifact(benchmark)).name
            client.log_artifact(run.info.run_id, str(shutil.copy(per_image, copy)), SCORES)
    for run in fitting:
        client.set_tag(run.info.run_id, BENCHMARK_TAG, benchmark)
        for name, value in _numbers(scores).items():
            client.log_metric(run.info.run_id, name, value)


def trained_by(client: MlflowClient, digest: str) -> list[Run]:
    """The runs that trained a model with such weights, the newest first."""
    return list(client.search_runs([_experiment_id(client)], f"tags.`{MODEL_TAG}` = '{digest}'"))


def scores_artifact(benchmark: str) -> str:
    """Where a training's run has its scores per image on a benchmark."""
    return f"{SCORES}/{benchmark}.csv"


def log_headline(metrics: dict[str, Any]) -> None:
    """Log the numbers of reports/metrics.json to the run of the whole call."""
    client = MlflowClient()
    parent = _parent_run(client)
    for name, value in _numbers(metrics).items():
        client.log_metric(parent, name, value)


def connect() -> MlflowClient:
    """Open the store that MLFLOW_TRACKING_URI names, else the repository's own.

    Raises:
        UserError: its experiment is deleted, or its schema is of an older MLflow, or it cannot be reached.
    """
    # Its own seven tries take minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", _TRIES)
    root = repository_root()
    own = f"sqlite:///{root / _DATABASE}"
    uri = _in_root(os.environ.get("MLFLOW_TRACKING_URI", own), root)
    mlflow.set_tracking_uri(uri)
    try:
        if uri == own:
            _bring_artifacts_along(root)
        client = MlflowClient()
        if client.get_experiment_by_name(EXPERIMENT) is None:
            client.create_experiment(EXPERIMENT, (root / _ARTIFACTS).as_uri() if uri == own else None)
        mlflow.set_experiment(EXPERIMENT)
    except (MlflowException, sqlite3.Error) as error:
        raise UserError(_remedy(uri, str(error))) from error
    deliver(client, unsent_folder())
    return client


def _in_root(uri: str, root: Path) -> str:
    """A relative SQLite address, as the README prints it, means the repository's root, also in a copy of it."""
    prefix = "sqlite:///"
    relative = uri.startswith(prefix) and not uri.removeprefix(prefix).startswith("/")
    return f"{prefix}{root / uri.removeprefix(prefix)}" if relative else uri


def _bring_artifacts_along(root: Path) -> None:
    """MLflow stores absolute paths: in a repository that was moved or copied they are made those of where it lies.

    A folder of artifacts that somebody has chosen, elsewhere or under another name, stays what it is.
    """
    database, here = root / _DATABASE, (root / _ARTIFACTS).as_uri()
    if not database.is_file():
        return
    with closing(sqlite3.connect(database)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"experiments", "runs"} <= tables:
            return
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        for (there,) in connection.execute(query, (EXPERIMENT,)).fetchall():
            if there != here and there.startswith("file:") and Path(there).name == _ARTIFACTS:
                connection.execute("UPDATE experiments SET artifact_location = ? WHERE name = ?", (here, EXPERIMENT))
                for table, column in _PLACES:
                    if table in tables:
                        move = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
                        connection.execute(move, (there, here))


def _remedy(uri: str, message: str) -> str:
    if "out-of-date database schema" in message:
        return f"mlflow: {uri} was written by an older MLflow; type: mlflow db upgrade {uri}"
    if "deleted experiment" in message:
        experiment = MlflowClient().get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else "ID"
        restore = f"mlflow experiments restore --experiment-id {number}"
        return f"mlflow: the experiment '{EXPERIMENT}' in {uri} is deleted; type: MLFLOW_TRACKING_URI={uri} {restore}"
    return f"mlflow: {uri}: {' '.join(message.split())[:300]}"


def _experiment_id(client: MlflowClient) -> str:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return experiment.experiment_id


def _parent_run(client: MlflowClient) -> str:
    """From the environment where a flow has set it, else the run of the `dvc` call above this process."""
    if PARENT_VARIABLE in os.environ:
        return os.environ[PARENT_VARIABLE]
    experiment, call = _experiment_id(client), _call()
    runs = client.search_runs([experiment], f"tags.`{_CALL_TAG}` = '{call}'")
    if runs:
        client.update_run(runs[0].info.run_id, status="RUNNING")
        return runs[0].info.run_id
    name = " ".join(["pipeline", *filter(None, [os.environ.get("DVC_EXP_NAME")])])
    run_id = client.create_run(
        experiment, run_name=name, tags={_CALL_TAG: call, "git_commit": _git_commit()}
    ).info.run_id
    for key, value in _all_params().items():
        client.log_param(run_id, key, value)
    return run_id


def _call() -> str:
    """Names the outermost `dvc` call this process runs under (itself, if there is none), and its experiment."""
    outermost = psutil.Process()
    for ancestor in psutil.Process().parents():
        try:
            words = ancestor.cmdline()
        except psutil.Error:
            continue
        if any(Path(word).name == "dvc" for word in words[:3]):
            outermost = ancestor
    # One worker runs all experiments of a queue.
    return f"{outermost.pid}-{outermost.create_time():.0f}-{os.environ.get('DVC_EXP_NAME', '')}"


def _git_commit() -> str:
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "none"


def _all_params() -> dict[str, Any]:
    path = Path("params.yaml")
    return _flat(yaml.safe_load(path.read_text())) if path.is_file() else {}


def model_digest(folder: Path) -> str:
    """Of a model's configuration, weights and head: two models with the same one are the same."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.glob("*")):
        if path.suffix in _MODEL_SUFFIXES:
            digest.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    return digest.hexdigest()


def input_hashes(inputs: list[Path]) -> dict[str, str]:
    """DVC's hash of each input that a stage made; of others the file's own, or that of a folder's listing."""
    lock = Path("dvc.lock")
    stages = (yaml.safe_load(lock.read_text()) or {}).get("stages", {}) if lock.is_file() else {}
    known = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", []) if "md5" in out}
    return {str(path): known.get(str(path)) or _own_hash(path) for path in inputs if path.exists()}


def made_from(inputs: list[Path]) -> str:
    """A digest of a stage's inputs and of the package's code: with the same, what was interrupted may go on."""
    hashes = json.dumps(input_hashes([*inputs, *sorted(Path("mfnet").rglob("*.py"))]))
    return hashlib.blake2b(hashes.encode(), digest_size=16).hexdigest()


def _own_hash(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    if path.is_file():
        digest.update(path.read_bytes())
        return digest.hexdigest()
    for file in sorted(path.rglob("*")):
        status = file.stat()
        digest.update(f"{file.relative_to(path)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return f"{digest.hexdigest()}.listing"


def _flat(params: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in params.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in _flat(metrics).items() if value is not None}
