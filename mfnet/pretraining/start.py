"""Train MFNet's start on people whose parameters are known: `python -m mfnet.pretraining.start`.

People are drawn as the training asks for them (`mfnet.pretraining.people`), each in one to four photographs. Beside
MFNet's parameters the network says where points spread over the head lie in each photograph, and how sure it is (Wood
et al., "3D Face Reconstruction with Dense Landmarks", ECCV 2022). The batch of a step is a function of seed and step,
so that an interrupted training goes on as an unbroken one would.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mfnet.errors import UserError
from mfnet.head import Directions, anny_head
from mfnet.method.checkpoint import Checkpoint, History
from mfnet.method.network import Parameters
from mfnet.method.start import FOLDER, StartConfig, StartNetwork, load_start, start_files, write_start
from mfnet.pretraining.judge import CROP_SCALE, IMAGE_SIZE, WEIGHTS, Judge, held_out_errors, spread_points
from mfnet.pretraining.origin import NOTHING, card_of, digest_of
from mfnet.pretraining.people import KnownPhotographs, People

_N_SKINS = 256
_MOST_VIEWS = 4
_WARMUP = 300
_JUDGE_EVERY, _LOG_EVERY = 10, 200


class StepBatches(Dataset[KnownPhotographs]):
    """The batch of every step, made as it is asked for."""

    def __init__(self, steps: int, images: int, seed: int) -> None:
        """So many images a step, of people in one to four photographs each."""
        self._steps, self._images, self._seed = steps, images, seed

    @cached_property
    def _people(self) -> People:
        # Made where the batches are made, so that a process is sent numbers and no head.
        return People(anny_head(), IMAGE_SIZE, CROP_SCALE, _N_SKINS, self._seed)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> KnownPhotographs:
        rng = np.random.default_rng([self._seed, 21, step])
        views = int(rng.integers(1, _MOST_VIEWS + 1))
        return self._people.draw(rng, max(1, self._images // views), views)


def falls_from(settings: Mapping[str, Any]) -> int:
    """The step from which on the learning rate falls."""
    return round(settings["constant"] * settings["steps"])


def learning_rate_at(step: int, settings: Mapping[str, Any]) -> float:
    """A short warm-up, then constant, then straight down to a hundredth."""
    steps, highest = settings["steps"], settings["learning_rate"]
    left = (steps - step) / (steps - falls_from(settings))
    return highest * min((step + 1) / _WARMUP, 1.0, 0.01 + 0.99 * left)


class _Checkpoints:
    """Of a training while its rate is constant, from where one of more steps goes on, and of its end."""

    def __init__(self, work: Path, settings: dict[str, Any]) -> None:
        _claim(work, settings)
        self._falls_from, self._constant_share = falls_from(settings), settings["constant"]
        of_any_length = {name: value for name, value in settings.items() if name not in ("steps", "constant")}
        self._constant = Checkpoint(work / "constant", json.dumps(of_any_length))
        self._falling = Checkpoint(work / "falling", json.dumps(settings))

    def save(self, network: Any, optimizer: Any, step: int, history: History) -> None:
        (self._constant if step <= self._falls_from else self._falling).save(network, optimizer, step, history)

    def restore(self, network: Any, optimizer: Any) -> tuple[int, History]:
        step, history = self._falling.restore(network, optimizer)
        if step:
            return step, history
        step, history = self._constant.restore(network, optimizer)
        if step > self._falls_from:
            fewest = math.ceil(step / self._constant_share)
            raise UserError(f"start: trained for {step} steps already; expected --steps {fewest} or more")
        return step, history


def _claim(work: Path, settings: dict[str, Any]) -> None:
    """Write beside the checkpoints what they are of; a UserError where they are of another training."""
    told = json.dumps({name: value for name, value in settings.items() if name not in ("steps", "constant")})
    path = work / "settings.json"
    if path.is_file() and path.read_text() != told:
        raise UserError(f"{path} is of a training with {path.read_text()}; use these settings or another --work")
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(told)


def train(settings: dict[str, Any], work: Path, workers: int) -> tuple[StartNetwork, list]:
    """Train, resuming from a checkpoint in `work` with the same settings.

    Args:
        settings: start (nothing, or the digest of the packaged weights, to begin with them), encoder, features, steps,
            images, learning_rate, constant (the share of the steps before it falls), seed.
        work: folder of the checkpoints; a training of more steps goes on from one of fewer.
        workers: processes that make the batches.

    Returns:
        The network and its curve.

    Raises:
        UserError: the folder has checkpoints of another training, or the packaged weights are of another network.
    """
    torch.manual_seed(settings["seed"])
    device, steps = torch.device("cuda" if torch.cuda.is_available() else "cpu"), settings["steps"]
    network = _first_network(settings).to(device)
    judge = Judge(anny_head(), network.mfnet.directions, device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings["learning_rate"], weight_decay=1e-4)
    checkpoints = _Checkpoints(work, settings)
    first_step, history = checkpoints.restore(network, optimizer)
    loader = _batches(settings, first_step, workers)
    began, recent = time.monotonic(), []
    for step, known in enumerate(map(lambda one: _on(device, one), loader), first_step):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, settings)
        # Geometry stays in float32, where millimetres survive.
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            parameters, points = (type(said)(*map(_single, said)) for said in network(known.images))
        losses = judge.losses(parameters, points, known)
        loss = torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        if (step + 1) % _JUDGE_EVERY == 0 or step + 1 == steps:
            recent.append(judge.errors(parameters, points, known))
        if (step + 1) % _LOG_EVERY == 0 or step + 1 == steps:
            values = {name: float(np.mean([one[name] for one in recent])) for name in recent[0]}
            history.append((step + 1, values))
            recent = []
            told = "  ".join(f"{name} {value:.2f}" for name, value in values.items())
            print(f"step {step + 1}/{steps}  {told}  {time.monotonic() - began:.0f} s", flush=True)
            checkpoints.save(network, optimizer, step + 1, history)
    return network.cpu().eval(), history


def _first_network(settings: Mapping[str, Any]) -> StartNetwork:
    """With random weights, or the packaged ones."""
    head, directions = anny_head(), Directions()
    if settings["start"] == NOTHING:
        points = torch.from_numpy(spread_points(head))
        return StartNetwork(settings["encoder"], settings["features"], directions, points)
    network, config = load_start()
    asked = (head.fingerprint, settings["encoder"], settings["features"], directions)
    if asked != (config.head, config.encoder, config.features, config.directions):
        raise UserError(
            f"start: the packaged weights are of head {config.head}, encoder {config.encoder} with {config.features} "
            f"features; expected those settings, or --start {NOTHING}"
        )
    return network.train()


def _batches(settings: Mapping[str, Any], first_step: int, workers: int) -> DataLoader[KnownPhotographs]:
    data = StepBatches(settings["steps"], settings["images"], settings["seed"])
    # A forked process could not use numba's threads, which the rasterizer has.
    return DataLoader(
        data, batch_size=None, sampler=range(first_step, len(data)), num_workers=workers,
        multiprocessing_context="spawn" if workers else None, worker_init_fn=_on_one_thread if workers else None,
    )  # fmt: skip


@torch.no_grad()
def blended(before: StartNetwork, after: StartNetwork, share: float) -> StartNetwork:
    """A network whose weights lie between those of two, `share` of the way from the first.

    Between what a network was and what it became on other photographs it is often better than either on a third kind
    (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
    """
    weights, first = deepcopy(after), before.state_dict()
    for name, value in weights.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.lerp(first[name].to(value.dtype), value, share))
    return weights


def package(network: StartNetwork, settings: dict[str, Any], history: list, folder: Path = FOLDER) -> None:
    """Write the weights in half precision, and the card with the errors of those very weights."""
    head = anny_head()
    config = StartConfig(
        head.fingerprint, settings["encoder"], settings["features"], network.mfnet.directions, IMAGE_SIZE, CROP_SCALE
    )
    network = network.half().float()
    card = {
        "licence": "MIT; trained on people drawn from the packaged head, whose data is CC0, and on no photograph",
        "settings": settings,
        "started_from": None if settings["start"] == NOTHING else card_of(start_files()[1]),
        "held_out": {f"photographs: {views}": held_out_errors(network, head, views) for views in (1, 3)},
        "curve": [[step, *(round(value, 3) for value in values.values())] for step, values in history],
        "curve_columns": ["step", *history[-1][1]],
    }
    write_start(folder, network, config, card)
    print(json.dumps(card["held_out"], indent=1))


def _on(device: torch.device, known: KnownPhotographs) -> KnownPhotographs:
    images, truth, lens, vertices, landmarks = known
    placed = Parameters(*(part.to(device) for part in truth))
    return KnownPhotographs(images.to(device), placed, lens.to(device), vertices.to(device), landmarks.to(device))


def _single(part: Tensor) -> Tensor:
    return part.float() if part.is_floating_point() else part


def _on_one_thread(worker: int) -> None:
    numba.set_num_threads(1)
    torch.set_num_threads(1)


def main() -> None:
    """Command line of the pretraining."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--start", choices=(NOTHING, "packaged"), default=NOTHING, help="weights to begin with")
    parser.add_argument("--encoder", default="compact")
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--steps", type=int, default=24000)
    parser.add_argument("--images", type=int, default=32, help="of a step")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--constant", type=float, default=0.7, help="share of the steps before the rate falls")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("data/start_pretraining"))
    parser.add_argument("--workers", type=int, default=1, help="processes that make the batches")
    parser.add_argument("--blend", type=float, default=1.0, help="share of the way from the weights begun with")
    settings = vars(parser.parse_args())
    work, workers, blend = (settings.pop(name) for name in ("work", "workers", "blend"))
    if not 0 < blend <= 1 or (blend < 1 and settings["start"] == NOTHING):
        parser.error("--blend: expected above 0 to 1, and below 1 only with --start packaged")
    if settings["start"] != NOTHING:
        settings["start"] = digest_of(start_files()[0])
    try:
        network, history = train(settings, work, workers)
    except UserError as error:
        sys.exit(f"error: {error}")
    if settings["start"] != NOTHING:
        network = blended(load_start()[0], network, blend)
    package(network, settings | {"blend": blend}, history)


if __name__ == "__main__":
    main()
