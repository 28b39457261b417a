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
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from mfnet.config import LossParams, NetworkParams, TrainParams
from mfnet.data.batches import TripletBatch, TripletData, augment
from mfnet.data.pairs import PAIRS
from mfnet.errors import about
from mfnet.flow import FlowEstimator
from mfnet.head import Directions, Flame, HeadModel
from mfnet.method.checkpoint import Checkpoint
from mfnet.method.encoders import load_encoder
from mfnet.method.losses import Evidence, compute_losses, multiview_optical, multiview_projection, total
from mfnet.method.multiview import measured_pairs, project_pairs, render_pairs
from mfnet.method.network import MFNet, Parameters, decode, in_front_of
from mfnet.method.start import start_from
from mfnet.method.validation import landmark_error, training_picture
from mfnet.method.views import Decoder, Scene, ViewPairs
from mfnet.parallel import progress

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

    def begin(self, start: str) -> None:
        """A sentence that says which weights the network starts from."""
        ...

    def log(self, step: int, values: dict[str, float]) -> None:
        """Figures after so many steps; after a restart also those of before."""
        ...

    def picture(self, step: int, image: np.ndarray) -> None:
        """RGB uint8 [H, W, 3]: what the network makes of a held-out triplet."""
        ...


class Instruments(NamedTuple):
    """What a training step uses besides the network: two decoders, one of the landmarks alone, and F of equation 6."""

    decoder: Decoder
    landmark_flame: Flame
    estimator: FlowEstimator


def seed_everything(seed: int) -> None:
    """One seed for every generator, and deterministic kernels where there are any."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  for libraries that draw from the global generator
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def losses_of(
    instruments: Instruments, parameters: Parameters, batch: TripletBatch, loss: LossParams, selection: Tensor | None
) -> dict[str, Tensor]:
    """All terms of equation 11; the multi-view one over the selected pairs (None: 0)."""
    parameters = in_front_of(parameters, batch.lens)
    projected = decode(instruments.landmark_flame, parameters, lens=batch.lens).landmarks[..., :2]

    def multiview() -> Tensor:
        if selection is None or not loss.weights["multiop"]:
            return projected.new_zeros(())
        return multiview_term(instruments, Scene(parameters, batch.images, batch.lens), batch, loss, selection)

    return compute_losses(Evidence(batch.landmarks.flatten(0, 1), projected, parameters, multiview))


def multiview_term(
    instruments: Instruments, scene: Scene, batch: TripletBatch, loss: LossParams, selection: Tensor
) -> Tensor:
    """Equation 6 over selected pairs [M, 2], in the form that the loss names."""
    decoder, estimator, form = instruments.decoder, instruments.estimator, loss.multiop_form
    pairs = ViewPairs.of_batch(batch, selection, consistency=loss.consistency or form == "precomputed")
    if form == "in_loop":
        rendered = render_pairs(decoder, scene, pairs)
        return multiview_optical(estimator, rendered.photograph, rendered.rendered, rendered.mask)
    projected = (
        project_pairs(decoder, scene, pairs)
        if form == "precomputed"
        else measured_pairs(decoder, scene, pairs, estimator)
    )
    return multiview_projection(projected.projected, projected.target, projected.mask)


def select_pairs(batch: int, count: int, generator: torch.Generator) -> Tensor:
    """Ordered pairs for one step, [M, 2] triplet and index into `PAIRS`, at most one per triplet."""
    triplet = torch.randperm(batch, generator=generator)[:count]
    return torch.stack([triplet, torch.randint(len(PAIRS), (len(triplet),), generator=generator)], 1)


def learning_rate_at(step: int, params: TrainParams) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    warmup = max(1, round(params.warmup * params.steps))
    if step < warmup:
        return params.learning_rate * (step + 1) / warmup
    along = (step - warmup) / max(1, params.steps - warmup)
    return params.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))


def train(
    setting: Setting, material: Material, recorder: Recorder, folder: Path, label: str = "train"
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
    network, optimizer = fabric.setup(network, torch.optim.Adam(network.parameters(), lr=params.learning_rate))
    validation = material.validation.spread(params.validate_on)
    picture = partial(training_picture, network, instruments.decoder, material.validation, fabric.device)
    checkpoint = Checkpoint(folder, json.dumps([setting.as_dict(), material.digest]))
    start, history = checkpoint.restore(network, optimizer)
    for step, values in history:
        recorder.log(step, values)
    values = history[-1][1] if history else {}
    clock = _clock()
    for step in progress(range(start, params.steps), label, params.steps - start):
        losses = _step(fabric, network, optimizer, instruments, setting, material.train, step)
        done, last = step + 1, step + 1 == params.steps
        if last or done % params.log_every == 0:
            values = {name: loss.item() for name, loss in losses.items()}
            values |= {"learning_rate": learning_rate_at(step, params), "steps_per_second": (done - start) / clock()}
            if last or done % (_VALIDATE_EVERY * params.log_every) == 0:
                error = landmark_error(network, instruments.landmark_flame, validation, params.batch, fabric.device)
                values["landmark_error_validation"] = error
            history.append((done, values))
            recorder.log(done, values)
        if not last and done % params.picture_every == 0:
            recorder.picture(done, picture())
        if last or done % params.checkpoint_every == 0:
            checkpoint.save(network, optimizer, done, history)
    recorder.picture(params.steps, picture())
    checkpoint.remove()
    return network.module.cpu(), {name: value for name, value in values.items() if name != "steps_per_second"}


def _fabric(params: TrainParams) -> Fabric:
    from lightning_fabric import Fabric  # noqa: PLC0415  takes seconds

    # Not "auto": Apple's GPUs lack the double precision that triangles are searched in.
    return Fabric(accelerator="cuda" if torch.cuda.is_available() else "cpu", devices=1, precision=params.precision)


def _clock() -> Callable[[], float]:
    """Seconds from now on."""
    began = time.monotonic()
    return lambda: time.monotonic() - began


def _step(
    fabric: Fabric, network: Any, optimizer: Any, instruments: Instruments, setting: Setting, data: TripletData,
    step: int,
) -> dict[str, Tensor]:  # fmt: skip
    """One step of gradient descent; the losses by name, `loss` in all."""
    params = setting.train
    generator = torch.Generator().manual_seed(setting.seed * 10**6 + step)
    batch = _next_batch(data, setting, step, generator).to(fabric.device)
    late = step >= params.multiop_after * params.steps
    selected = select_pairs(len(batch.images), params.multiop_pairs, generator).to(fabric.device) if late else None
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, params)
    # Fabric runs the network in the chosen precision; geometry stays in float32, where millimetres survive.
    losses = losses_of(instruments, Parameters(*network(batch.images)), batch, setting.loss, selected)
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
    directions, head = setting.directions, material.head
    landmarks = Flame(head, directions.n_shape, directions.n_expression, landmarks_only=True)
    decoder = Decoder.of(head, directions, setting.image_size, setting.train.texture_size)
    return Instruments(decoder.to(device), landmarks.to(device), material.estimator.to(device))


def _next_batch(data: TripletData, setting: Setting, step: int, generator: torch.Generator) -> TripletBatch:
    """The step's batch: a function of seed and step, so that a resumed run sees what an unbroken one would."""
    size = setting.train.batch
    per_epoch = max(1, len(data) // size)
    epoch = torch.Generator().manual_seed(setting.seed * 10**6 + step // per_epoch)
    order = torch.randperm(len(data), generator=epoch)
    place = step % per_epoch * size
    batch = data.batch(order[place : place + size].tolist())
    return augment(batch, setting.train.jitter, generator)
