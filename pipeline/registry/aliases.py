"""The registry: versions of the model, and the alias that says which one is used."""

from __future__ import annotations

import json

from mlflow import register_model
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mfnet.errors import UserError
from pipeline.registry.logged import NAME
from pipeline.tracking import MODEL_TAG

CHAMPION = "champion"
DECISION_TAG = "mfnet.decision"
ROLLED_BACK_TAG = "mfnet.rolled_back"
_LINE_TAG = "mfnet.champions"
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def champion(client: MlflowClient) -> ModelVersion | None:
    """The version that is used; None where none is yet."""
    try:
        return client.get_model_version_by_alias(NAME, CHAMPION)
    except MlflowException as error:
        if error.error_code in _MISSING:
            return None
        raise


def number_of(version: ModelVersion) -> str:
    """Its number as text, which a database has as a number and a server as text."""
    return str(version.version)


def version_of(client: MlflowClient, digest: str) -> ModelVersion | None:
    """The newest version with such weights."""
    versions = client.search_model_versions(f"name = '{NAME}' AND tags.`{MODEL_TAG}` = '{digest}'")
    return max(versions, key=lambda one: int(one.version), default=None)


def register(client: MlflowClient, model_id: str, digest: str, description: str) -> ModelVersion:
    """Make a logged model the next version."""
    version = register_model(f"models:/{model_id}", NAME, tags={MODEL_TAG: digest})
    return client.update_model_version(NAME, version.version, description)


def promote(client: MlflowClient, version: str) -> None:
    """Let a version be the champion, and remember which one was before it.

    Raises:
        UserError: there is no such version.
    """
    try:
        client.get_model_version(NAME, version)
    except MlflowException as error:
        if error.error_code in _MISSING:
            raise UserError(f"retrain: the model {NAME} has no version {version}; mlflow's page lists them") from error
        raise
    before = champion(client)
    line = _line_of(client, before)
    client.delete_model_version_tag(NAME, version, ROLLED_BACK_TAG)
    if before is None or number_of(before) != version:
        client.set_registered_model_tag(NAME, _LINE_TAG, json.dumps([*line, version]))
    client.set_registered_model_alias(NAME, CHAMPION, version)


def rollback(client: MlflowClient) -> tuple[str, str]:
    """Let the version be the champion that was it before; gives the versions from and to.

    The one that it leaves is not promoted again but by hand.

    Raises:
        UserError: there is no champion, or none was before it, or that one has been deleted.
    """
    now = champion(client)
    if now is None:
        raise UserError(f"retrain: the model {NAME} has no champion yet; there is nothing to roll back")
    earlier = _line_of(client, now)[:-1]
    if not earlier:
        raise UserError(f"retrain: version {number_of(now)} is the first champion; there is none to roll back to")
    before = earlier[-1]
    try:
        client.set_registered_model_alias(NAME, CHAMPION, before)
    except MlflowException as error:
        if error.error_code in _MISSING:
            raise UserError(f"retrain: version {before}, the champion before, has been deleted") from error
        raise
    client.set_registered_model_tag(NAME, _LINE_TAG, json.dumps(earlier))
    client.set_model_version_tag(NAME, number_of(now), ROLLED_BACK_TAG, "true")
    return number_of(now), before


def _line_of(client: MlflowClient, now: ModelVersion | None) -> list[str]:
    """The champions one after another, today's last."""
    line = json.loads(client.get_registered_model(NAME).tags.get(_LINE_TAG, "[]"))
    if now is not None and line[-1:] != [number_of(now)]:
        # Somebody has moved the alias on MLflow's page.
        line.append(number_of(now))
    return line
