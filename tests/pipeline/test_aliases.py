"""The line of champions: who follows whom, and the way back."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from mfnet.errors import UserError
from pipeline.registry.aliases import CHAMPION, ROLLED_BACK_TAG, champion, number_of, promote, rollback
from pipeline.registry.logged import NAME


@pytest.fixture
def client(tmp_path: Path) -> MlflowClient:
    """A registry with four versions and no champion."""
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    client.create_registered_model(NAME)
    for _ in range(4):
        client.create_model_version(NAME, (tmp_path / "nothing").as_uri())
    return client


def number(client: MlflowClient) -> str | None:
    version = champion(client)
    return number_of(version) if version else None


def test_an_empty_registry_has_no_champion(tmp_path: Path, client: MlflowClient) -> None:
    assert number(MlflowClient(f"sqlite:///{tmp_path / 'empty.db'}")) is None
    assert number(client) is None
    with pytest.raises(UserError, match="has no champion yet"):
        rollback(client)


def test_rollback_goes_back_along_the_line(client: MlflowClient) -> None:
    for version in ("1", "3", "4"):
        promote(client, version)
    assert rollback(client) == ("4", "3")
    assert rollback(client) == ("3", "1")
    assert number(client) == "1"
    with pytest.raises(UserError, match="version 1 is the first champion"):
        rollback(client)


def test_what_was_rolled_back_is_marked_until_somebody_promotes_it(client: MlflowClient) -> None:
    promote(client, "1")
    promote(client, "2")
    rollback(client)
    assert ROLLED_BACK_TAG in client.get_model_version(NAME, "2").tags
    promote(client, "2")
    assert ROLLED_BACK_TAG not in client.get_model_version(NAME, "2").tags
    assert rollback(client) == ("2", "1")


def test_an_alias_that_was_moved_on_the_page_is_part_of_the_line(client: MlflowClient) -> None:
    promote(client, "1")
    client.set_registered_model_alias(NAME, CHAMPION, "2")
    promote(client, "3")
    assert rollback(client) == ("3", "2")
    assert rollback(client) == ("2", "1")


def test_versions_that_are_not_there_are_one_line(client: MlflowClient) -> None:
    with pytest.raises(UserError, match="has no version 9"):
        promote(client, "9")
    promote(client, "1")
    promote(client, "2")
    client.delete_model_version(NAME, "1")
    with pytest.raises(UserError, match="version 1, the champion before, has been deleted"):
        rollback(client)
    assert number(client) == "2"
