"""What the stages train and ablation have in common: one network, its curves and its MLflow run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mfnet.config import EngineParams, LossParams, Params
from mfnet.data.batches import TripletData
from mfnet.data.faces import FaceStore
from mfnet.data.flow_store import FlowStore
from mfnet.errors import UserError
from mfnet.flow import weights_files
from mfnet.head import HeadModel
from mfnet.method.checkpoint import remove_checkpoints
from mfnet.method.devices import is_first, started_by_others
from mfnet.method.network import MFNet
from mfnet.method.start import start_files
from mfnet.method.training import Material, Setting, Silent, train
from mfnet.reconstruct.model_folder import ModelConfig, write_model
from mfnet.settings import directions, open_flow_estimator, open_head
from pipeline.outputs import partial_of, whole_folder
from pipeline.registry.logged import log_inputs, log_model
from pipeline.tracking import MODEL_TAG, input_hashes, made_from, model_digest, tracked, unsent_folder
from pipeline.unsent import RunLog

FACES, TRIPLETS, FLOW = Path("data/faces"), Path("data/triplets.parquet"), Path("data/flow")
_VALIDATION = "landmark_error_validation"


class CurveRecorder:
    """Writes a training's curves and pictures to a folder, and tells them to MLflow, which may be away meanwhile."""

    def __init__(self, folder: Path, run_log: RunLog) -> None:
        self._folder, self._run_log = folder, run_log
        self._rows: list[dict[str, float]] = []

    def begin(self, start: str, step: int) -> None:
        """See `mfnet.method.training.Recorder`; pictures of before are kept, those of later steps are drawn again."""
        print(f"starts from: {start}")
        self._run_log.tag("mfnet.starts_from", start)
        for path in sorted(self._folder.glob("step_*.png")):
            if int(path.stem.removeprefix("step_")) > step:
                path.unlink()
            else:
                self._run_log.artifact(path, "pictures")

    def log(self, step: int, values: dict[str, float]) -> None:
        """See `mfnet.method.training.Recorder`."""
        self._rows.append({"step": step, **values})
        self._run_log.metrics(values, step)

    def picture(self, step: int, image: np.ndarray) -> None:
        """See `mfnet.method.training.Recorder`."""
        path = self._folder / f"step_{step:06d}.png"
        cv2.imwrite(str(path), image[..., ::-1])
        self._run_log.artifact(path, "pictures")

    def write(self) -> None:
        """Write losses.csv and validation.csv."""
        table = pd.DataFrame(self._rows).drop(columns="steps_per_second")
        table.drop(columns=_VALIDATION).to_csv(self._folder / "losses.csv", index=False)
        table[["step", _VALIDATION]].dropna().to_csv(self._folder / "validation.csv", index=False)


def setting_of(params: Params, seed: int, loss: LossParams) -> Setting:
    """What params.yaml says of a training with such a seed and loss."""
    return Setting(seed, params.network, loss, params.train, directions(params.head), params.data.image_size)


def material_of(params: Params, loss: LossParams, flow: Path = FLOW) -> Material:
    """What the stages before have made of the photographs; flow: folder of the flow store."""
    head, estimator = open_head(params.head), open_flow_estimator(params.flow)
    table = pd.read_parquet(TRIPLETS)
    stores = (FaceStore(FACES), FlowStore(flow, with_flow=loss.multiop_form == "precomputed"))
    in_perspective = params.network.camera == "pinhole"
    train_split, validation = (TripletData(table, split, *stores, in_perspective) for split in ("train", "validation"))
    start = start_files() if params.network.weights == "packaged" else []
    read = [params.head.path, FACES, TRIPLETS, flow, *weights_files(params.flow.estimator), *start]
    return Material(train_split, validation, head, estimator, made_from(read))


def write_trained(folder: Path, params: Params, network: MFNet, head: HeadModel) -> None:
    """Write a trained network as a model's folder."""
    data, of_network = params.data, params.network
    config = ModelConfig(
        head=head.fingerprint, **directions(params.head)._asdict(), encoder=of_network.encoder,
        features=of_network.features, image_size=data.image_size, crop_scale=data.crop_scale,
        camera=of_network.camera, assumed_focal=of_network.assumed_focal,
    )  # fmt: skip
    write_model(folder, config, network, head)


def _become_torchrun(engine: EngineParams) -> NoReturn:
    """Start this very command once for every device.

    Raises:
        UserError: other machines are needed, which nobody has started it on.
    """
    if engine.nodes > 1:
        raise UserError(
            f"engine.nodes: {engine.nodes} machines; expected srun or torchrun to start this stage on each of them"
        )
    module = sys.modules["__main__"].__spec__
    assert module is not None
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(engine.devices)]
    os.execv(sys.executable, [sys.executable, *launcher, "-m", module.name, *sys.argv[1:]])


def _log_model(folder: Path, description: str) -> None:
    try:
        log_model(folder, description)
    except (MlflowException, OSError) as error:
        why = " ".join(str(error).split())[:200]
        print(f"mlflow: the model was not logged ({why}); a retraining logs it when it is compared", file=sys.stderr)


def run_training(stage: str, name: str, params: Params, seed: int, loss: LossParams) -> None:
    """Write models/NAME/ and reports/curves/NAME/ (losses.csv, validation.csv, pictures).

    Args:
        stage: train or ablation.
        name: of the network: mfnet, or ablation/no_eye-0.
        params: all of params.yaml; where it asks for several devices this process becomes torchrun, which starts one
            process for each, and only the first of them writes and is tracked.
        seed, loss: of this training.
    """
    engine, setting = params.engine, setting_of(params, seed, loss)
    if engine.processes > 1 and not started_by_others():
        _become_torchrun(engine)
    if not is_first(engine):
        train(setting, material_of(params, loss), Silent(), partial_of(Path("models") / name), None, engine)
        return
    inputs = [params.head.path, FACES, TRIPLETS, FLOW]
    logged = {name: getattr(params, name).model_dump(mode="json") for name in ("head", "network", "train", "flow")}
    logged |= {"seed": seed, "loss": loss.model_dump()}
    model, curves = Path("models") / name, Path("reports/curves") / name
    variant = None if name == "mfnet" else Path(name).name
    with tracked(stage, logged, inputs, variant, machine=True) as run:
        log_inputs(input_hashes(inputs))
        with (
            whole_folder(curves, resume=True) as curves_folder,
            whole_folder(model, resume=True) as model_folder,
            RunLog(MlflowClient(), run.info.run_id, unsent_folder()) as run_log,
        ):
            recorder, material = CurveRecorder(curves_folder, run_log), material_of(params, loss)
            network, values = train(setting, material, recorder, model_folder, stage, engine)
            recorder.write()
            write_trained(model_folder, params, network, material.head)
            remove_checkpoints(model_folder)
            run_log.tag(MODEL_TAG, model_digest(model_folder))
        told = ", ".join(f"{name}: {value:.4g}" for name, value in values.items())
        print(told)
        _log_model(model, f"{variant or name}, after {params.train.steps} steps: {told}")
