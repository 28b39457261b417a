"""MLflow runs: one per stage and variant, nested under the run of the `dvc` or Prefect call they belong to."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import psutil
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

EXPERIMENT = "mfnet"
DEFAULT_URI = "sqlite:///mlflow.db"
PARENT_VARIABLE = "MFNET_PIPELINE_RUN"
_PARENT_TAG, _PROCESS_TAG = "mlflow.parentRunId", "mfnet.process"


@contextmanager
def tracked(stage: str, params: dict[str, Any], inputs: list[Path], variant: str | None = None) -> Iterator[Run]:
    """An MLflow run for a stage, with its parameters, the git commit and its inputs' hashes.

    Args:
        stage: its name in dvc.yaml.
        params: nested; logged flat, `train.steps`.
        inputs: files and folders it reads; their hashes are taken from dvc.lock.
        variant: of a matrix stage.
    """
    client = _client()
    parent = _parent_run(client)
    tags = {"stage": stage, "git_commit": _git_commit(), _PARENT_TAG: parent}
    if variant:
        tags["variant"] = variant
    tags |= {f"input.{path}": digest for path, digest in input_hashes(inputs).items()}
    # No stage is the last that a `dvc` call runs: each leaves the call's run as it leaves its own.
    status = "FAILED"
    try:
        with mlflow.start_run(run_name=f"{stage}@{variant}" if variant else stage, tags=tags) as run:
            mlflow.log_params(_flat(params))
            yield run
        status = "FINISHED"
    finally:
        if PARENT_VARIABLE not in os.environ:
            client.set_terminated(parent, status)


@contextmanager
def tracked_pipeline(name: str) -> Iterator[str]:
    """An MLflow run for a whole pipeline, for stages to be nested under; gives its id."""
    _client()
    with mlflow.start_run(run_name=name, tags={"git_commit": _git_commit()}) as run:
        yield run.info.run_id


def _client() -> MlflowClient:
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_URI))
    mlflow.set_experiment(EXPERIMENT)
    return MlflowClient()


def _parent_run(client: MlflowClient) -> str:
    """From the environment where a flow has set it, else found or made by the `dvc` process above this one."""
    if PARENT_VARIABLE in os.environ:
        return os.environ[PARENT_VARIABLE]
    process, name = _calling_process()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.`{_PROCESS_TAG}` = '{process}'")
    if found:
        client.update_run(found[0].info.run_id, status="RUNNING")
        return found[0].info.run_id
    tags = {_PROCESS_TAG: process, "git_commit": _git_commit()}
    return client.create_run(experiment.experiment_id, run_name=name, tags=tags).info.run_id


def _calling_process() -> tuple[str, str]:
    """A name for the outermost `dvc` call this process runs under (itself, if there is none), and for its run."""
    chosen = psutil.Process()
    for ancestor in psutil.Process().parents():
        try:
            words = ancestor.cmdline()
        except psutil.Error:
            continue
        if any(Path(word).name == "dvc" for word in words[:3]):
            chosen = ancestor
    experiment = os.environ.get("DVC_EXP_NAME")
    return f"{chosen.pid}-{chosen.create_time():.0f}", f"pipeline {experiment}" if experiment else "pipeline"


def _git_commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "none"


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


def log_metrics(metrics: dict[str, Any], step: int | None = None, prefix: str = "") -> None:
    """Log numbers of a nested dictionary to the active run, `wild.0-5.cd_mm`; what is null is left out."""
    numbers = {key: float(value) for key, value in _flat(metrics, prefix).items() if value is not None}
    mlflow.log_metrics(numbers, step=step)
