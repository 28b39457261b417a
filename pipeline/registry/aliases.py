"""The registry: versions of the model, and the alias that says which one is used."""

from __future__ import annotations

from mlflow import register_model
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mfnet.errors import UserError
from pipeline.registry.logged import NAME
from pipeline.tracking import MODEL_TAG

CHAMPION = "champion"
DECISION_TAG = "mfnet.decision"
_BEFORE_TAG = "mfnet.champion_before"


def champion(client: MlflowClient) -> ModelVersion | None:
    """The version that is used; None where none is yet."""
    try:
        return client.get_model_version_by_alias(NAME, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


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
    before = champion(client)
    try:
        client.get_model_version(NAME, version)
    except MlflowException as error:
        raise UserError(f"retrain: the model {NAME} has no version {version}; mlflow's page lists them") from error
    if before is not None and before.version != version:
        client.set_model_version_tag(NAME, version, _BEFORE_TAG, before.version)
    client.set_registered_model_alias(NAME, CHAMPION, version)


def rollback(client: MlflowClient) -> tuple[str, str]:
    """Let the version be the champion that was it before; gives the versions from and to.

    Raises:
        UserError: there is no champion, or none was before it.
    """
    now = champion(client)
    if now is None:
        raise UserError(f"retrain: the model {NAME} has no champion yet; there is nothing to roll back")
    before = now.tags.get(_BEFORE_TAG)
    if before is None:
        raise UserError(f"retrain: version {now.version} is the first champion; there is none to roll back to")
    client.set_registered_model_alias(NAME, CHAMPION, before)
    return now.version, before
