"""A trained network as an MLflow model: the folder, the code that reads it, what that needs, an example."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import cv2
import mlflow
import pandas as pd
import skimage.data
from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import LoggedModelStatus
from mlflow.tracking import MlflowClient

import mfnet
from mfnet.reconstruct.packaged_detector import PackagedDetector
from pipeline.registry import served
from pipeline.tracking import EXPERIMENT, MODEL_TAG, model_digest

NAME = "mfnet"
DESCRIPTION_TAG = "mlflow.note.content"
# What MLflow's database keeps of a digest.
_LONGEST_DIGEST = 36


class DvcSource(FileSystemDatasetSource):
    """A path of the repository whose content DVC knows by its hash."""

    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def uri(self) -> str:
        """The path, relative to the repository's root."""
        return self._path

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    def load(self, dst_path: str | None = None) -> str:
        """Where it lies; `dvc checkout` brings back what a commit had there."""
        return self._path

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> DvcSource:
        raise NotImplementedError("it is made of a path, and resolved from nothing")

    def to_dict(self) -> dict[str, str]:
        """As MLflow stores it."""
        return {"uri": self._path}

    @classmethod
    def from_dict(cls, source_dict: dict[str, Any]) -> DvcSource:
        """As MLflow has stored it."""
        return cls(source_dict["uri"])


def logged_model(client: MlflowClient, digest: str) -> str | None:
    """The id of the newest logged model with such weights; None where there is none."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    models = client.search_logged_models([experiment.experiment_id], f"tags.`{MODEL_TAG}` = '{digest}'")
    # The store does not find them by their status.
    return next((model.model_id for model in models if model.status == LoggedModelStatus.READY), None)


def log_inputs(hashes: dict[str, str]) -> None:
    """Log what the active run reads as its data sets: path -> DVC's hash."""
    for path, digest in hashes.items():
        dataset = MetaDataset(DvcSource(path), path, digest[:_LONGEST_DIGEST])  # type: ignore[abstract]
        mlflow.log_input(dataset, context="training")


def log_model(folder: Path, description: str) -> str:
    """Log a model's folder to the active run, as something that MLflow can load and serve anywhere.

    Args:
        folder: as `mfnet.reconstruct.model_folder.write_model` wrote it.
        description: a sentence for MLflow's pages.

    Returns:
        The id of the logged model.
    """
    with tempfile.TemporaryDirectory() as place:
        # MLflow keeps the folder's name; while a stage runs it is another one.
        named = shutil.copytree(folder, Path(place) / served.MODEL)
        logged = mlflow.pyfunc.log_model(
            name=NAME,
            python_model=served.__file__,
            artifacts={served.MODEL: str(named)},
            code_paths=[str(Path(mfnet.__file__).parent)],
            pip_requirements=requirements(),
            signature=served.SIGNATURE,
            input_example=example(),
            tags={MODEL_TAG: model_digest(folder), DESCRIPTION_TAG: description},
        )
    return logged.model_id


def requirements() -> list[str]:
    """The installed versions of what mfnet depends on, and of MLflow, as pip reads them."""
    needed = [one for one in importlib.metadata.requires("mfnet") or [] if "extra ==" not in one]
    names = [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in needed]
    # A build's own label, as of torch without CUDA, is not on the package index.
    versions = {name: importlib.metadata.version(name).partition("+")[0] for name in [*names, "mlflow"]}
    return [f"{name}=={version}" for name, version in versions.items()]


def example() -> pd.DataFrame:
    """A photograph that anybody may pass on, unlike those that are trained on: skimage's astronaut, of NASA."""
    face = skimage.data.astronaut()[:320, 60:380]
    landmarks = PackagedDetector()("", face)
    assert landmarks is not None
    _, jpeg = cv2.imencode(".jpg", face[..., ::-1])
    return pd.DataFrame([{"photograph": jpeg.tobytes(), "landmarks": landmarks.round(1).tolist()}])
