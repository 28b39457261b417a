"""Nights of retraining against a real Prefect server and a real MLflow server over HTTP: who becomes champion."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from scratch_clone import Clone
from servers import MlflowServer, PrefectServer

from mfnet.reconstruct import Reconstructor
from pipeline.registry.logged import NAME

pytestmark = [pytest.mark.slow, pytest.mark.pipeline, pytest.mark.minutes]


class House:
    """A repository with its servers."""

    def __init__(self, clone: Clone, prefect: PrefectServer, mlflow: MlflowServer) -> None:
        self.clone, self.mlflow = clone, mlflow
        self.variables = {**prefect.variables, "MLFLOW_TRACKING_URI": mlflow.url, "OMP_NUM_THREADS": "1",
                          "NUMBA_NUM_THREADS": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
                          "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # fmt: skip

    def say(self, *command: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=self.clone.folder, env=os.environ | self.variables,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout[-4000:]
        return done.stdout

    def night(self, **sections: object) -> str:
        """What a retraining with some other parameters prints."""
        self.clone.change(sections)
        return self.say("pipeline.retrain")

    @property
    def champion(self) -> str | None:
        aliases = MlflowClient(self.mlflow.url).get_registered_model(NAME).aliases
        return aliases.get("champion")

    @property
    def statuses(self) -> set[str]:
        client = MlflowClient(self.mlflow.url)
        experiment = client.get_experiment_by_name("mfnet")
        assert experiment is not None
        return {run.info.status for run in client.search_runs([experiment.experiment_id])}


@pytest.fixture(scope="module")
def house(clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("servers")
    prefect, mlflow = PrefectServer(folder / "prefect"), MlflowServer(folder / "mlflow")
    prefect.start()
    mlflow.start()
    # Enough people for a difference to be decided.
    clone.change({"synthesize": {"wild_per_bin": 4, "lab_subjects": 2}})
    yield House(clone, prefect, mlflow)
    mlflow.stop()
    prefect.stop()


def test_a_first_model_that_is_worse_than_the_mean_head_is_no_champion(house: House) -> None:
    said = house.night(network={"weights": None})
    assert "version 1: there is no champion yet: its wild CD" in said
    assert house.champion is None
    assert "error: retrain: the model mfnet has no champion yet" in house.say("pipeline.retrain", "rollback", status=1)


def test_the_first_that_is_better_is(house: House) -> None:
    assert "version 2: the first champion: its wild CD" in house.night(network={"weights": "packaged"})
    assert house.champion == "2"


def test_a_worse_challenger_is_registered_and_the_alias_stays(house: House) -> None:
    said = house.night(network={"weights": None}, seed=1)
    assert "version 3: the champion stays: wild worse" in said
    assert house.champion == "2"
    assert "nothing new" in house.say("pipeline.retrain")


def test_a_better_one_takes_its_place_though_mlflow_is_away_for_a_while(house: House) -> None:
    assert "champion: version 3" in house.say("pipeline.retrain", "promote", "3")
    house.clone.change({"network": {"weights": "packaged"}, "seed": 2})
    house.mlflow.stop()
    back = threading.Timer(45, house.mlflow.start)
    back.start()
    began = time.monotonic()
    said = house.say("pipeline.retrain")
    back.join()
    assert time.monotonic() - began > 45
    assert "version 4: the challenger takes its place: wild better" in said
    assert house.champion == "4"
    assert house.statuses == {"FINISHED"}


def test_the_champion_is_fetched_by_one_command_and_rolled_back_by_another(house: House, tmp_path: Path) -> None:
    house.say("mlflow", "artifacts", "download", "-u", f"models:/{NAME}@champion/artifacts/model", "-d", str(tmp_path))
    fetched = Reconstructor.load(tmp_path / "artifacts/model")
    ours = Reconstructor.load(house.clone.folder / "models/mfnet")
    assert fetched.head.fingerprint == ours.head.fingerprint
    weights = [
        (folder / "model.safetensors").read_bytes()
        for folder in (tmp_path / "artifacts/model", house.clone.folder / "models/mfnet")
    ]
    assert weights[0] == weights[1]
    assert "champion: version 3, no longer 4" in house.say("pipeline.retrain", "rollback")
    assert house.champion == "3"
    assert "nothing new" in house.say("pipeline.retrain")
    assert house.champion == "3"


def test_a_champion_that_was_scored_on_another_benchmark_is_scored_anew(house: House) -> None:
    house.say("pipeline.retrain", "promote", "2")
    said = house.night(evaluate={"submit": "face"}, network={"weights": None}, seed=3)
    assert "version 2 has not been scored on this benchmark by this code; it is now" in said
    assert "version 5: the champion stays: wild worse" in said


def test_a_version_that_is_not_there_is_one_line(house: House) -> None:
    said = house.say("pipeline.retrain", "promote", "77", status=1)
    assert "error: retrain: the model mfnet has no version 77; mlflow's page lists them" in said.splitlines()
