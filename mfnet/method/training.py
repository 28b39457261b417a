"""The training loop: devices and precision by Lightning Fabric, losses by equation 11, a checkpoint to resume from."""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mfnet.config import LossParams, NetworkParams, TrainParams
from mfnet.data.batches import TripletBatch, TripletData
from mfnet.data.steps import StepBatches
from mfnet.errors import about
from mfnet.flow import FlowEstimator
from mfnet.head import Directions, HeadModel
from mfnet.method.checkpoint import Checkpoint, History
from mfnet.method.encoders import load_encoder
from mfnet.method.losses import total
from mfnet.method.network import MFNet, Parameters
from mfnet.method.objective import Instruments, losses_of, select_pairs, select_views
from mfnet.method.start import start_from
from mfnet.method.validation import Judge
from mfnet.parallel import made_beside, progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Held-out people are looked at once in so many times that the losses are logged.
_VALIDATE_EVERY = 10
# Away from the seeds of the batches.
_OF_SELECTION = 10**6 // 2


@dataclass(frozen=True)
class Setting:
    """What is trained and how.

    seed: of weights, batches and jitter.
    network, loss, train: their sections of params.yaml.
    directions: how many of the head's.
    image_size: of the crops, pixels a side.
    """

    seed: int
    network: NetworkParams
    loss: LossParams
    train: TrainParams
    directions: Directions
    image_size: int

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        sections = {name: getattr(self, name).model_dump(mode="json") for name in ("network", "loss", "train")}
        return {"seed": self.seed, **sections, "directions": self.directions._asdict(), "image_size": self.image_size}


@dataclass(frozen=True)
class Material:
    """What is trained on.

    train, validation: the splits.
    head: the decoder's head model.
    estimator: F of equation 6.
    digest: of all that these were read from; a checkpoint of another one is not resumed from.
    """

    train: TripletData
    validation: TripletData
    head: HeadModel
    estimator: FlowEstimator
    digest: str = ""


class Recorder(Protocol):
    """Is told how a training goes."""

    def begin(self, start: str) -> None:
        """A sentence that says which weights the network starts from."""
        ...

    def log(self, step: int, values: dict[str, float]) -> None:
        """Figures after so many steps; after a restart also those of before."""
        ...

    def picture(self, step: int, image: np.ndarray) -> None:
        """RGB uint8 [H, W, 3]: what the network makes of a held-out triplet."""
        ...


def seed_everything(seed: int) -> None:
    """One seed for every generator, and deterministic kernels where there are any."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  for libraries that draw from the global generator
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def learning_rate_at(step: int, params: TrainParams) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    warmup = max(1, round(params.warmup * params.steps))
    if step < warmup:
        return params.learning_rate * (step + 1) / warmup
    along = (step - warmup) / max(1, params.steps - warmup)
    return params.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))


def train(
    setting: Setting, material: Material, recorder: Recorder, folder: Path, label: str | None = "train"
) -> tuple[MFNet, dict[str, float]]:
    """Train a network.

    Args:
        setting: what and how.
        material: on what.
        recorder: is told how it goes.
        folder: of the checkpoint, which is resumed from if setting and material are the same; gone at the end.
        label: shown with the progress.

    Returns:
        The network, on the CPU, and the last figures.

    Raises:
        UserError: the encoder's weights do not fit.
    """
    params = setting.train
    seed_everything(setting.seed)
    fabric = _fabric(params)
    (network, begun), instruments = _new_network(setting, material.head), _instruments(setting, material, fabric.device)
    recorder.begin(begun)
    network, optimizer = fabric.setup(network, _optimizer(network, params))
    checkpoint = Checkpoint(folder, json.dumps([setting.as_dict(), material.digest]))
    start, history = checkpoint.restore(network, optimizer)
    diary = _Diary(params, recorder, Judge(network, instruments, material.validation, params, fabric.device), history)
    pairs_from = math.ceil(params.multiop_after * params.steps) if setting.loss.weights["multiop"] else params.steps
    steps = StepBatches(material.train, params.batch, params.jitter, setting.seed, pairs_from)
    batches = made_beside(steps.batch, range(start, params.steps))
    for step, batch in enumerate(progress(batches, label, params.steps - start), start):
        losses = _step(fabric, network, optimizer, instruments, setting, batch.to(fabric.device), step)
        diary.write(step + 1, losses)
        if step + 1 == params.steps or (step + 1) % params.checkpoint_every == 0:
            checkpoint.save(network, optimizer, step + 1, diary.history)
    diary.close()
    checkpoint.remove()
    return network.module.cpu(), {name: value for name, value in diary.last.items() if name != "steps_per_second"}


class _Diary:
    """What a training tells on the way: losses and speed, sometimes how it does on held-out people, and pictures."""

    def __init__(self, params: TrainParams, recorder: Recorder, judge: Judge, history: History) -> None:
        """Repeat to the recorder what was told before an interruption."""
        self.history, self._params, self._recorder, self._judge = history, params, recorder, judge
        for step, values in history:
            recorder.log(step, values)
        self._began, self._written = time.monotonic(), 0

    @property
    def last(self) -> dict[str, float]:
        """The newest figures."""
        return self.history[-1][1] if self.history else {}

    def write(self, done: int, losses: dict[str, Tensor]) -> None:
        """After so many steps, of which the last one had these losses."""
        params, last = self._params, done == self._params.steps
        self._written += 1
        if last or done % params.log_every == 0:
            values = {name: loss.item() for name, loss in losses.items()}
            values["learning_rate"] = learning_rate_at(done - 1, params)
            values["steps_per_second"] = self._written / (time.monotonic() - self._began)
            if last or done % (_VALIDATE_EVERY * params.log_every) == 0:
                values["landmark_error_validation"] = self._judge.landmark_error()
            self.history.append((done, values))
            self._recorder.log(done, values)
        if not last and done % params.picture_every == 0:
            self._recorder.picture(done, self._judge.picture())

    def close(self) -> None:
        """The last picture, also where all steps had been taken before an interruption."""
        self._recorder.picture(self._params.steps, self._judge.picture())


def _fabric(params: TrainParams) -> Fabric:
    from lightning_fabric import Fabric  # noqa: PLC0415  takes seconds

    # Not "auto": Apple's GPUs lack the double precision that triangles are searched in.
    return Fabric(accelerator="cuda" if torch.cuda.is_available() else "cpu", devices=1, precision=params.precision)


def _optimizer(network: MFNet, params: TrainParams) -> torch.optim.Adam:
    # In half precision a fused one scales gradients back by itself, after they would have been clipped.
    fused = params.precision != "16-mixed"
    return torch.optim.Adam(network.parameters(), lr=params.learning_rate, fused=fused)


def _step(
    fabric: Fabric, network: Any, optimizer: Any, instruments: Instruments, setting: Setting, batch: TripletBatch,
    step: int,
) -> dict[str, Tensor]:  # fmt: skip
    """One step of gradient descent; the losses by name, `loss` in all."""
    params = setting.train
    generator = torch.Generator().manual_seed(setting.seed * 10**6 + step + _OF_SELECTION)
    triplets, views = batch.images.shape[:2]
    telling = select_views(triplets, views, params.fewer_views, generator).to(fabric.device)
    asked = batch.pairs is not None
    selected = select_pairs(triplets, params.multiop_pairs, generator).to(fabric.device) if asked else None
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, params)
    # Fabric runs the network in the chosen precision; geometry stays in float32, where millimetres survive.
    losses = losses_of(instruments, Parameters(*network(batch.images, telling)), batch, setting.loss, selected)
    loss = total(losses, setting.loss.weights)
    optimizer.zero_grad()
    fabric.backward(loss)
    fabric.clip_gradients(network, optimizer, max_norm=1.0, error_if_nonfinite=params.precision == "32-true")
    optimizer.step()
    return {f"loss_{name}": value.detach() for name, value in losses.items()} | {"loss": loss.detach()}


def _new_network(setting: Setting, head: HeadModel) -> tuple[MFNet, str]:
    """The network as the training finds it, and a sentence that says what it has."""
    params, directions = setting.network, setting.directions
    network = MFNet(params.encoder, params.features, directions)
    with about("network.weights"):
        if params.weights == "packaged":
            return network, start_from(network, params.encoder, params.features, directions, head.fingerprint)
        if params.weights is not None:
            pixels, begun = load_encoder(network.encoder, params.weights)
            network.expect(pixels)
            return network, begun
    return network, "random weights"


def _instruments(setting: Setting, material: Material, device: torch.device) -> Instruments:
    sizes = setting.image_size, setting.train.texture_size
    return Instruments.of(material.head, setting.directions, *sizes, material.estimator).to(device)
