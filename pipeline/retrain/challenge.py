"""The trained model against the champion: registered, compared, and promoted where the rule says so."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mfnet.config import Params
from mfnet.evaluation.methods.registry import MEAN_HEAD, MFNET
from mfnet.evaluation.statistics.summary import load_scores
from pipeline.registry.aliases import (
    CHAMPION,
    DECISION_TAG,
    ROLLED_BACK_TAG,
    champion,
    number_of,
    promote,
    register,
    version_of,
)
from pipeline.registry.logged import DESCRIPTION_TAG, NAME, log_model, logged_model
from pipeline.registry.served import MODEL
from pipeline.retrain.choosing import Comparison, Decision, compare, decide, decide_first
from pipeline.retrain.processes import run_child
from pipeline.retrain.stages import StageError, can_pass
from pipeline.scoring_run import PER_IMAGE, benchmark_of
from pipeline.tracking import MODEL_TAG, connect, model_digest, scores_artifact, trained_by

TRAINED = Path("models/mfnet")


class Outcome(NamedTuple):
    """The challenger's version, that of the champion it met (None: there was none), what was compared and decided."""

    challenger: str
    champion: str | None
    comparisons: dict[str, Comparison]
    decision: Decision


def is_judged(client: MlflowClient) -> bool:
    """Whether it has been decided already what becomes of the model in the folder."""
    version = version_of(client, model_digest(TRAINED)) if TRAINED.is_dir() else None
    return version is not None and DECISION_TAG in version.tags


def challenge(params: Params, tell: Callable[[str], None]) -> Outcome:
    """Register the model in the folder, compare it with the champion, and let the alias move where the rule says so.

    Args:
        params: all of params.yaml.
        tell: is given a line now and then.

    Raises:
        StageError: the champion had to be scored anew, and could not be.
    """
    client = connect()
    now, version = champion(client), _registered(client)
    ours = load_scores(PER_IMAGE / f"{MFNET}.csv")
    comparisons: dict[str, Comparison] = {}
    if now is None:
        decision = decide_first(ours, load_scores(PER_IMAGE / f"{MEAN_HEAD}.csv"))
    elif number_of(now) == number_of(version):
        decision = Decision(False, "the model is the champion itself")
    elif ROLLED_BACK_TAG in version.tags:
        decision = Decision(False, "the champion stays: this version was rolled back by hand")
    else:
        comparisons = compare(ours, _scores_of(client, now, number_of(version), params, tell))
        decision = decide(comparisons, params.retrain.promote_if)
    if decision.promoted:
        promote(client, number_of(version))
    # Last: what was interrupted before is decided again.
    client.set_model_version_tag(NAME, number_of(version), DECISION_TAG, decision.why)
    return Outcome(number_of(version), number_of(now) if now else None, comparisons, decision)


def _registered(client: MlflowClient) -> ModelVersion:
    digest = model_digest(TRAINED)
    known = version_of(client, digest)
    if known is not None:
        return known
    model_id = logged_model(client, digest)
    if model_id is None:
        model_id = _logged_late(client, digest)
    return register(client, model_id, digest, client.get_logged_model(model_id).tags[DESCRIPTION_TAG])


def _logged_late(client: MlflowClient, digest: str) -> str:
    """Log what its training has not: MLflow was away then, or another store was named, or DVC has brought the model."""
    trained = trained_by(client, digest)
    if not trained:
        return log_model(TRAINED, "not trained by a run of this store")
    with mlflow.start_run(run_id=trained[0].info.run_id, nested=True):
        return log_model(TRAINED, f"trained by the run {trained[0].info.run_name}")


def _scores_of(
    client: MlflowClient, version: ModelVersion, challenger: str, params: Params, tell: Callable[[str], None]
) -> pd.DataFrame:
    """The champion's scores on today's benchmark, as they were logged or measured anew with today's code."""
    name = scores_artifact(benchmark_of(params))
    with tempfile.TemporaryDirectory() as folder:
        for run in trained_by(client, version.tags[MODEL_TAG]):
            try:
                return load_scores(Path(client.download_artifacts(run.info.run_id, name, folder)))
            except MlflowException:
                continue
        tell(f"version {version.version} has not been scored on this benchmark by this code; it is now")
        model = mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{NAME}/{version.version}", dst_path=folder)
        table = Path(folder) / "scores.csv"
        weights = Path(model) / "artifacts" / MODEL
        command = [sys.executable, "-m", "mfnet.cli", "evaluate", MFNET, "--model", str(weights), "--out", str(table)]
        status, lines = run_child(command, dict(os.environ), tell)
        if status:
            sentence = (lines or ["it wrote nothing"])[-1].removeprefix("error: ")
            remedy = f"python -m pipeline.retrain promote {challenger} chooses by hand"
            raise StageError(f"{CHAMPION}: version {version.version}: {sentence}; {remedy}", can_pass(sentence))
        return load_scores(table)
