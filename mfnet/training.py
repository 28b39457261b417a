"""The training loop: devices and precision by Lightning Fabric, losses by equation 11, a checkpoint to resume from."""

from __future__ import annotations

import json
import math
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric
from safetensors.torch import save_file
from torch import Tensor

from mfnet import losses as equations
from mfnet.config import LossParams, Params, TrainParams
from mfnet.data.batches import TripletBatch, TripletData, augment
from mfnet.data.landmarks import OUTER_EYES
from mfnet.data.triplets import VIEWS
from mfnet.flow import FlowEstimator
from mfnet.flow.store import PAIRS
from mfnet.head import Flame, HeadModel
from mfnet.multiview import measured_pairs, project_pairs, render_pairs
from mfnet.network import MFNet, Parameters, decode
from mfnet.parallel import progress
from mfnet.render import Renderer

Log = Callable[[int, dict[str, float]], None]
History = list[tuple[int, dict[str, float]]]
_CHECKPOINT = "checkpoint.pt"


class Modules(NamedTuple):
    """What a training step uses besides the network."""

    flame: Flame
    landmark_flame: Flame
    renderer: Renderer
    estimator: FlowEstimator


def seed_everything(seed: int) -> None:
    """One seed for every generator, and deterministic kernels where there are any."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  for libraries that draw from the global generator
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def compute_losses(
    modules: Modules, parameters: Parameters, batch: TripletBatch, weights: LossParams, pairs: Tensor | None
) -> equations.Losses:
    """All five terms of equation 11; the multi-view one only over the given pairs (None: 0)."""
    projected = decode(modules.landmark_flame, parameters).landmarks[..., :2]
    detected = batch.landmarks.flatten(0, 1)
    multiop = projected.new_zeros(())
    if pairs is not None and weights.multiop:
        multiop = multiview_term(modules, parameters, batch, weights, pairs)
    return equations.Losses(
        multiop=multiop,
        singlelmk=equations.single_view_keypoint(detected, projected),
        eye=equations.eye_keypoint(detected, projected),
        lip=equations.lip_keypoint(detected, projected),
        reg=equations.regularisation(parameters.shape, parameters.expression, parameters.albedo),
    )


def multiview_term(
    modules: Modules, parameters: Parameters, batch: TripletBatch, weights: LossParams, pairs: Tensor
) -> Tensor:
    """Equation 6 over chosen pairs, in the form that the weights name."""
    flame, renderer, estimator = modules.flame, modules.renderer, modules.estimator
    if weights.multiop_form == "precomputed":
        return equations.multiview_projection(*project_pairs(flame, renderer, parameters, batch, pairs))
    asked = weights.consistency
    if weights.multiop_form == "measured":
        measured = measured_pairs(flame, renderer, estimator, parameters, batch, pairs, asked)
        return equations.multiview_projection(*measured)
    shown = render_pairs(flame, renderer, parameters, batch, pairs, asked)
    return equations.multiview_optical(estimator, *shown)


@torch.no_grad()
def landmark_error(network: torch.nn.Module, flame: Flame, data: TripletData, size: int, device: torch.device) -> float:
    """Mean landmark error over a split as a fraction of the outer-eye distance.

    Errors are taken in the photographs' pixels and divided by the distance of landmarks 36 and 45 in the same
    triplet's frontal photograph, so that profiles, where that distance vanishes, count like the others.
    Where it is known where landmarks truly are, the errors are from there, else from where a detector has them.
    """
    network.eval()
    errors = []
    rows = data.rows
    sides = np.stack([[crop[2] for crop in rows[f"{view}_crop"]] for view in VIEWS], 1) / 2
    start = 0
    for loaded in data.against_reference().batches(size):
        batch = loaded.to(device)
        projected = decode(flame, network(batch.images)).landmarks[..., :2].view_as(batch.landmarks)
        side = torch.from_numpy(sides[start : start + len(batch.images)]).to(device)
        start += len(batch.images)
        distance = (projected - batch.landmarks).norm(dim=-1).mean(-1) * side
        right, left = OUTER_EYES
        eyes = (batch.landmarks[:, 0, right] - batch.landmarks[:, 0, left]).norm(dim=-1) * side[:, 0]
        errors.append((distance / eyes[:, None]).flatten())
    network.train()
    return torch.cat(errors).mean().item()


def choose_pairs(batch: int, count: int, generator: torch.Generator) -> Tensor:
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
    params: Params, variant: str, weights: LossParams, data: dict[str, TripletData], head: HeadModel,
    estimator: FlowEstimator, target: Path, log: Log, picture: Callable[[int, np.ndarray], None], inputs: str = "",
) -> dict[str, float]:  # fmt: skip
    """Train one variant and write `target`: model.safetensors, config.json, head.npz.

    Args:
        params: all of params.yaml.
        variant: recorded in the config.
        weights: of equation 11 for this variant.
        data: "train" and "validation".
        head, estimator: the decoder's head model and F of equation 6.
        target: folder to write; a checkpoint of the same settings and inputs in `target.partial` is resumed from.
        log, picture: called with the step and the curves' values or an RGB uint8 image of renders.
        inputs: a digest of what is trained on and with: data, head, code.

    Returns:
        The last values: the losses and the landmark errors on both splits.
    """
    seed_everything(params.seed)
    settings = params.train
    # Not "auto": Apple's GPUs lack the double precision that triangles are searched in.
    fabric = Fabric(accelerator="cuda" if torch.cuda.is_available() else "cpu", devices=1, precision=settings.precision)
    network = MFNet(params.network, params.head)
    modules = _modules(params, head, estimator, fabric.device)
    network, optimizer = fabric.setup(network, torch.optim.Adam(network.parameters(), lr=settings.learning_rate))
    validation = data["validation"].spread(settings.validate_on)
    partial = target.with_name(target.name + ".partial")
    config = {"variant": variant, "loss": weights.model_dump(), **params.model_dump(mode="json", exclude={"loss"})}
    key = _checkpoint_key(config, inputs)
    start, history = _resume(partial, key, network, optimizer)
    for step, values in history:
        log(step, values)

    values = history[-1][1] if history else {}
    began = time.monotonic()
    for step in progress(range(start, settings.steps), f"train {variant}", settings.steps - start):
        generator = torch.Generator().manual_seed(params.seed * 10**6 + step)
        batch = _next_batch(data["train"], settings, params.seed, step, generator).to(fabric.device)
        late = step >= settings.multiop_after * settings.steps
        pairs = choose_pairs(len(batch.images), settings.multiop_pairs, generator).to(fabric.device) if late else None
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, settings)
        # Fabric runs the network in the chosen precision; geometry stays in float32, where millimetres survive.
        terms = compute_losses(modules, Parameters(*network(batch.images)), batch, weights, pairs)
        loss = equations.total(terms, weights)
        optimizer.zero_grad()
        fabric.backward(loss)
        full_precision = settings.precision == "32-true"
        fabric.clip_gradients(network, optimizer, max_norm=1.0, error_if_nonfinite=full_precision)
        optimizer.step()

        last = step + 1 == settings.steps
        if last or (step + 1) % settings.log_every == 0:
            values = {f"loss_{name}": term.item() for name, term in terms._asdict().items()}
            values |= {"loss": loss.item(), "learning_rate": learning_rate_at(step, settings)}
            values["steps_per_second"] = (step + 1 - start) / (time.monotonic() - began)
            if last or (step + 1) % (10 * settings.log_every) == 0:
                error = landmark_error(network, modules.landmark_flame, validation, settings.batch, fabric.device)
                values["landmark_error_validation"] = error
            history.append((step + 1, values))
            log(step + 1, values)
        if not last and (step + 1) % settings.picture_every == 0:
            picture(step + 1, training_picture(network, modules, data["validation"], fabric.device))
        if last or (step + 1) % settings.checkpoint_every == 0:
            _save_checkpoint(partial, key, network, optimizer, step + 1, history)
    picture(settings.steps, training_picture(network, modules, data["validation"], fabric.device))
    _write_model(partial, target, config, network, head)
    return {key: value for key, value in values.items() if key != "steps_per_second"}


def _modules(params: Params, head: HeadModel, estimator: FlowEstimator, device: torch.device) -> Modules:
    sizes = (params.head.n_shape, params.head.n_expression)
    renderer = Renderer(head, params.data.image_size, params.train.texture_size, params.head.n_albedo)
    made = (Flame(head, *sizes), Flame(head, *sizes, landmarks_only=True), renderer, estimator)
    return Modules(*(module.to(device) for module in made))  # type: ignore[arg-type]


def _next_batch(
    data: TripletData, settings: TrainParams, seed: int, step: int, generator: torch.Generator
) -> TripletBatch:
    """The step's batch: a function of seed and step, so that a resumed run sees what an unbroken one would."""
    per_epoch = max(1, len(data) // settings.batch)
    epoch = torch.Generator().manual_seed(seed * 10**6 + step // per_epoch)
    order = torch.randperm(len(data), generator=epoch)
    place = step % per_epoch * settings.batch
    batch = data.batch(order[place : place + settings.batch].tolist())
    return augment(batch, settings.jitter, generator)


@torch.no_grad()
def training_picture(network: torch.nn.Module, modules: Modules, data: TripletData, device: torch.device) -> np.ndarray:
    """What the network sees and makes of one held-out triplet, RGB uint8: photographs, shapes, I_{a->b}, MC."""
    network.eval()
    batch = next(data.batches(1)).to(device)
    parameters = Parameters(*network(batch.images))
    decoded = decode(modules.flame, parameters)
    shapes = modules.renderer.depth_shading(modules.renderer.view(decoded.vertices, decoded.projected))
    pairs = torch.tensor([[0, 1], [0, 0], [0, 2]], device=device)
    shown = render_pairs(modules.flame, modules.renderer, parameters, batch, pairs, consistency=False)
    photographs = batch.images[0]
    overlay = torch.where(shapes > 0, 0.35 * photographs + 0.65 * shapes, photographs)
    rows = [photographs, overlay, shown.rendered, shown.mask * shown.photograph]
    network.train()
    picture = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    return (picture.clamp(0, 1) * 255).byte().permute(1, 2, 0).cpu().numpy()


def _checkpoint_key(config: dict[str, Any], inputs: str) -> str:
    """What a checkpoint must share with a training to be resumed by it."""
    names = ("variant", "loss", "seed", "head", "data", "flow", "network", "train")
    return json.dumps({name: config[name] for name in names} | {"inputs": inputs})


def _save_checkpoint(folder: Path, key: str, network: Any, optimizer: Any, step: int, history: History) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    state = {"step": step, "key": key, "network": network.state_dict()}
    state["history"] = json.dumps(history)
    torch.save(state | {"optimizer": optimizer.state_dict()}, folder / (_CHECKPOINT + ".new"))
    (folder / (_CHECKPOINT + ".new")).replace(folder / _CHECKPOINT)


def _resume(folder: Path, key: str, network: Any, optimizer: Any) -> tuple[int, History]:
    """The step to go on from and what was logged before it: 0 unless there is a checkpoint with this key."""
    path = folder / _CHECKPOINT
    if not path.is_file():
        return 0, []
    state = torch.load(path, weights_only=True)
    if state.get("key") != key:
        return 0, []
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), [(step, values) for step, values in json.loads(state["history"])]


def _write_model(partial: Path, target: Path, config: dict[str, Any], network: Any, head: HeadModel) -> None:
    weights = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    save_file(weights, partial / "model.safetensors")
    named = config | {"head_fingerprint": head.fingerprint}
    (partial / "config.json").write_text(json.dumps(named, indent=1) + "\n")
    head.save(partial / "head.npz")
    (partial / _CHECKPOINT).unlink()
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
