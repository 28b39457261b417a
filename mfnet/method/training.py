"""The training loop: devices and precision by Lightning Fabric, losses by equation 11, a checkpoint to resume from."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mfnet.config import EngineParams, LossParams, NetworkParams, TrainParams
from mfnet.data.batches import TripletBatch, TripletData
from mfnet.data.steps import StepBatches
from mfnet.errors import UserError, about
from mfnet.flow import FlowEstimator
from mfnet.head import Directions, HeadModel
from mfnet.method.checkpoint import Checkpoint, History
from mfnet.method.devices import open_fabric
from mfnet.method.divergence import Watch, diverged, require_near
from mfnet.method.draws import Draw
from mfnet.method.encoders import load_encoder
from mfnet.method.losses import total
from mfnet.method.network import MFNet, Parameters
from mfnet.method.objective import Instruments, losses_of
from mfnet.method.processes import means_over_processes, with_shared_statistics
from mfnet.method.start import start_from
from mfnet.method.validation import Judge
from mfnet.parallel import made_beside, progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Held-out people are looked at once in so many times that the losses are logged.
_VALIDATE_EVERY = 10


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

    def begin(self, start: str, step: int) -> None:
        """A sentence that says which weights the network starts from, and the step that it goes on from, 0 at first."""
        ...

    def log(self, step: int, values: dict[str, float]) -> None:
        """Figures after so many steps; after a restart also those of before."""
        ...

    def picture(self, step: int, image: np.ndarray) -> None:
        """RGB uint8 [H, W, 3]: what the network makes of a held-out triplet; those of before are not repeated."""
        ...


class Silent:
    """A recorder that keeps nothing."""

    def begin(self, start: str, step: int) -> None:
        """See `Recorder`."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """See `Recorder`."""

    def picture(self, step: int, image: np.ndarray) -> None:
        """See `Recorder`."""


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
    setting: Setting, material: Material, recorder: Recorder, folder: Path, label: str | None = "train",
    engine: EngineParams = EngineParams(),  # noqa: B008  immutable
) -> tuple[MFNet, dict[str, float]]:  # fmt: skip
    """Train a network.

    Args:
        setting: what and how.
        material: on what.
        recorder: is told how it goes; of several processes only the first one's.
        folder: of the checkpoints, which are resumed from if setting and material are the same. They stay until the
            network has been written: see `mfnet.method.checkpoint.remove_checkpoints`.
        label: shown with the progress.
        engine: the devices.

    Returns:
        The network, on the CPU, and the last figures.

    Raises:
        UserError: the encoder's weights do not fit, or the training diverges.
    """
    params = setting.train
    if engine.processes > 1 and len(material.train) < params.batch:
        raise UserError(f"train.batch: {params.batch}, and there are {len(material.train)} triplets to share")
    seed_everything(setting.seed)
    fabric = open_fabric(engine, params.precision)
    (network, begun), instruments = _new_network(setting, material.head), _instruments(setting, material, fabric.device)
    network = with_shared_statistics(network)
    network, optimizer = fabric.setup(network, _optimizer(network, params))
    checkpoint = Checkpoint(folder, json.dumps([setting.as_dict(), material.digest]))
    start, history = checkpoint.restore(network, optimizer)
    judge = Judge(network.module, instruments, material.validation, params, fabric.device)
    diary = _Diary(params, recorder, judge) if fabric.is_global_zero else None
    if diary:
        diary.begin(begun, start, history)
    steps = StepBatches(material.train, params.batch, params.jitter, setting.seed, _pairs_from(setting))
    descent = _Descent(fabric, network, optimizer, instruments, setting, Watch(params.precision))
    batches = made_beside(lambda step: _drawn(setting, steps, step), range(start, params.steps))
    for draw, batch in progress(batches, label if diary else None, params.steps - start):
        losses = descent.step(
            batch.to(fabric.device), draw.to(fabric.device), partial(steps.names, draw.step, draw.rows)
        )
        if diary:
            diary.write(draw.step + 1, losses, partial(steps.names, draw.step, draw.rows))
        if diary and (draw.step + 1 == params.steps or (draw.step + 1) % params.checkpoint_every == 0):
            checkpoint.save(network, optimizer, draw.step + 1, diary.history)
    if diary:
        diary.close()
    return network.module.cpu(), diary.last if diary else {}


def _pairs_from(setting: Setting) -> int:
    """The step from which on equation 6 counts."""
    steps = setting.train.steps
    return math.ceil(setting.train.multiop_after * steps) if setting.loss.weights["multiop"] else steps


def _drawn(setting: Setting, steps: StepBatches, step: int) -> tuple[Draw, TripletBatch]:
    """What this process sees of a step."""
    params = setting.train
    pairs = params.multiop_pairs if step >= steps.pairs_from else None
    draw = Draw.of_step(step, setting.seed, len(steps.positions(step)), params.fewer_views, pairs)
    return draw, steps.batch(step, draw.rows)


@dataclass(frozen=True)
class _Descent:
    """Takes the steps.

    fabric: the devices; network, optimizer: as it has set them up; instruments: what turns parameters into losses;
    setting: what is trained and how; watch: ends a training that diverges.
    """

    fabric: Fabric
    network: Any
    optimizer: Any
    instruments: Instruments
    setting: Setting
    watch: Watch

    def step(self, batch: TripletBatch, draw: Draw, names: Callable[[], list[str]]) -> dict[str, Tensor]:
        """One step of gradient descent; the losses by name, `loss` in all, over the batches of all processes.

        Args:
            batch: of this process.
            draw: its choices.
            names: gives the names of the triplets, for errors.
        """
        params, done = self.setting.train, draw.step + 1
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(draw.step, params)
        losses = self._losses(batch, draw, names)
        loss = total(losses, self.setting.loss.weights)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(self.network, self.optimizer, max_norm=1.0, error_if_nonfinite=False)
        self.watch.gradient(done, norm, lambda: self._gradients(batch, draw, names), names)
        self.optimizer.step()
        return means_over_processes({f"loss_{name}": value for name, value in losses.items()} | {"loss": loss})

    def _losses(self, batch: TripletBatch, draw: Draw, names: Callable[[], list[str]]) -> dict[str, Tensor]:
        # Fabric runs the network in the chosen precision; geometry stays in float32, where millimetres survive.
        parameters = Parameters(*self.network(batch.images, draw.telling))
        self.watch.parameters(draw.step + 1, parameters._asdict(), names)
        losses = losses_of(self.instruments, parameters, batch, self.setting.loss, draw.pairs)
        weights = self.setting.loss.weights
        self.watch.losses(draw.step + 1, {name: losses[name] for name in losses if weights[name]}, names)
        return losses

    def _gradients(self, batch: TripletBatch, draw: Draw, names: Callable[[], list[str]]) -> dict[str, Tensor]:
        """Every term's own gradient by the network's weights, in one row."""
        losses, weights = self._losses(batch, draw, names), self.setting.loss.weights
        trained, gradients = list(self.network.parameters()), {}
        for name in (name for name in losses if weights[name] and losses[name].requires_grad):
            parts = torch.autograd.grad(losses[name], trained, retain_graph=True, allow_unused=True)
            gradients[name] = torch.cat([part.flatten() for part in parts if part is not None])
        return gradients


class _Diary:
    """What a training tells on the way: losses and speed, sometimes how it does on held-out people, and pictures."""

    def __init__(self, params: TrainParams, recorder: Recorder, judge: Judge) -> None:
        """Begin an empty one."""
        self.history: History = []
        self._params, self._recorder, self._judge = params, recorder, judge
        self._began, self._written = time.monotonic(), 0

    def begin(self, start: str, step: int, history: History) -> None:
        """Say which weights it starts from, and repeat what was told before an interruption after so many steps."""
        self.history = history
        self._recorder.begin(start, step)
        for before, values in history:
            self._recorder.log(before, values)
        self._began = time.monotonic()

    @property
    def last(self) -> dict[str, float]:
        """The newest figures, but for the speed."""
        newest = self.history[-1][1] if self.history else {}
        return {name: value for name, value in newest.items() if name != "steps_per_second"}

    def write(self, done: int, losses: dict[str, Tensor], names: Callable[[], list[str]]) -> None:
        """After so many steps, of which the last one had these losses of triplets with these names."""
        params, last = self._params, done == self._params.steps
        self._written += 1
        # The first step too: what it began with.
        if done == 1 or last or done % params.log_every == 0:
            values = {name: loss.item() for name, loss in losses.items()}
            values["learning_rate"] = learning_rate_at(done - 1, params)
            values["steps_per_second"] = self._written / (time.monotonic() - self._began)
            if last or done % (_VALIDATE_EVERY * params.log_every) == 0:
                values["landmark_error_validation"] = self._landmark_error(done)
            self.history.append((done, values))
            self._recorder.log(done, values)
            require_near(done, [row["loss_singlelmk"] for _, row in self.history], names)
        if not last and done % params.picture_every == 0:
            self._recorder.picture(done, self._judge.picture())

    def _landmark_error(self, done: int) -> float:
        error = self._judge.landmark_error()
        if not math.isfinite(error):
            raise diverged(done, "landmark_error_validation", [str(name) for name in self._judge.held_out.rows.index])
        return error

    def close(self) -> None:
        """The last picture, also where all steps had been taken before an interruption."""
        self._recorder.picture(self._params.steps, self._judge.picture())


def _optimizer(network: MFNet, params: TrainParams) -> torch.optim.Adam:
    # In half precision a fused one scales gradients back by itself, after they would have been clipped.
    fused = params.precision != "16-mixed"
    return torch.optim.Adam(network.parameters(), lr=params.learning_rate, fused=fused)


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
