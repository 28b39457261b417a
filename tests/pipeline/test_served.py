"""A trained network as MLflow keeps it: loaded and served elsewhere, by the code that it carries."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
import skimage.data
import torch
import trimesh
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from packaging.requirements import Requirement
from scratch_clone import ROOT

from mfnet.head import Directions, HeadModel
from mfnet.method.network import MFNet
from mfnet.reconstruct import Reconstructor
from mfnet.reconstruct.model_folder import ModelConfig, write_model
from mfnet.reconstruct.packaged_detector import PackagedDetector
from pipeline.registry.aliases import CHAMPION, NAME
from pipeline.registry.logged import log_inputs, log_model, requirements

FACE = skimage.data.astronaut()[:320, 60:380]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, head: HeadModel) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("trained") / "mfnet"
    folder.mkdir()
    sizes = Directions(10, 5, 4)
    config = ModelConfig(
        head=head.fingerprint, **sizes._asdict(), encoder="compact", features=8, image_size=64, crop_scale=1.25
    )
    write_model(folder, config, MFNet("compact", 8, sizes), head)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[str]:
    """A store in which the model is the champion."""
    place = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{place / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("mfnet", (place / "artifacts").as_uri()))
    with mlflow.start_run():
        log_inputs({"data/faces": "1" * 32 + ".dir", "data/elsewhere": "2" * 32 + ".listing"})
        model = log_model(folder, "A small one.")
    version = mlflow.register_model(f"models:/{model}", NAME)
    MlflowClient().set_registered_model_alias(NAME, CHAMPION, version.version)
    yield uri
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def landmarks() -> np.ndarray:
    landmarks = PackagedDetector()("", FACE)
    assert landmarks is not None
    return landmarks


def photograph(suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, FACE[..., ::-1])[1].tobytes()


def test_it_answers_as_the_folder_does(store: str, folder: Path, landmarks: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "front.png").write_bytes(photograph())
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@{CHAMPION}")
    rows = [{"photograph": photograph(), "path": None}, {"photograph": None, "path": str(tmp_path / "front.png")}]
    answer = loaded.predict(pd.DataFrame([row | {"landmarks": landmarks.tolist()} for row in rows]))
    ours = Reconstructor.load(folder)([FACE, FACE], [landmarks, landmarks])
    parameters = json.loads(answer["parameters"][0])
    np.testing.assert_allclose(parameters["shape"], ours.parameters["shape"], atol=1e-5)
    assert len(parameters["cameras"]) == 2
    mesh = trimesh.load(trimesh.util.wrap_as_stream(answer["glb"][0]), file_type="glb", force="mesh")
    np.testing.assert_allclose(mesh.bounds, [ours.vertices.min(0), ours.vertices.max(0)], atol=1e-5)


def test_people_are_told_apart_and_parameters_are_heard(store: str, landmarks: np.ndarray) -> None:
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@{CHAMPION}")
    row = {"photograph": photograph(".jpg"), "landmarks": landmarks.tolist()}
    table = pd.DataFrame([row | {"person": "b"}, row | {"person": "a"}, row | {"person": "b"}])
    answer = loaded.predict(table, params={"focal": 700.0})
    assert answer["person"].tolist() == ["b", "a"]
    cameras = [json.loads(parameters)["cameras"] for parameters in answer["parameters"]]
    assert [len(one) for one in cameras] == [2, 1]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"photograph": b"no picture"}, "the bytes of photograph 1 are no readable image"),
        ({"path": "/no/such.png"}, "/no/such.png is missing"),
        ({"person": "a"}, "photograph 1 is neither there nor named; expected bytes in 'photograph' or a file"),
        ({"photograph": photograph(), "landmarks": [[1, 2]]}, r"landmarks of shape \[1, 2\]; expected 68 x 2"),
        ({"photograph": photograph(), "landmarks": [["a", 2]]}, "landmarks are not numbers"),
        ({"photograph": photograph(), "landmarks": 7}, "landmarks are not numbers"),
        ({"photograph": photograph(), "landmarks": [[1, 2], [3]]}, "landmarks are not numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_said(store: str, row: dict, why: str) -> None:  # type: ignore[type-arg]
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@{CHAMPION}")
    with pytest.raises(MlflowException, match=why):
        loaded.predict(pd.DataFrame([row]))


def test_requirements_name_versions_of_all_that_the_package_needs() -> None:
    listed = requirements()
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {one.split("==")[0] for one in listed} == {Requirement(one).name for one in asked} | {"mlflow"}
    assert all("==" in one and "+" not in one for one in listed)


def test_what_was_trained_on_stands_with_the_run(store: str) -> None:
    (run,) = MlflowClient().search_runs(["1"])
    inputs = {one.dataset.name: (one.dataset.digest, one.dataset.source_type) for one in run.inputs.dataset_inputs}
    assert inputs["data/faces"] == ("1" * 32 + ".dir", "dvc")
    assert inputs["data/elsewhere"][0] == ("2" * 32 + ".listing")[:36]


@pytest.mark.slow
def test_it_is_served_from_another_folder_and_without_this_project_on_the_path(
    store: str, landmarks: np.ndarray, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "server.log"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"MLFLOW_TRACKING_URI": store, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["models", "serve", "-m", f"models:/{NAME}@{CHAMPION}", "--env-manager", "local", "-p", str(port)]
    with log.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command], cwd=tmp_path, env=environment,
            stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{url}/ping", timeout=5).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.5)
        rows = [
            {"photograph": base64.b64encode(photograph()).decode(), "landmarks": landmarks.round().astype(int).tolist()}
        ]
        answer = requests.post(f"{url}/invocations", json={"dataframe_records": rows * 3}, timeout=120)
        assert answer.status_code == 200, log.read_text()[-3000:]
        (head,) = answer.json()["predictions"]
        assert base64.b64decode(head["glb"])[:4] == b"glTF"
        assert len(json.loads(head["parameters"])["cameras"]) == 3
        refused = requests.post(
            f"{url}/invocations", json={"dataframe_records": [{"path": "/no/such.png"}]}, timeout=60
        )
        assert refused.status_code == 400
        assert "/no/such.png is missing" in refused.text
    finally:
        os.killpg(server.pid, 15)
        server.wait()
