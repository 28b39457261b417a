"""How much of a training step is the encoder's: `python benchmarks/train_step.py` after `dvc repro flow`; two minutes.

Prints triplets a second of training as it runs (loading, jitter, network, losses, optimiser) without equation 6 and
with each of its forms, beside the encoder's forward and backward alone and the flow network alone (the floor): medians
over steps, all in turns. Then a step's parts in milliseconds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import nn
from trials import changed

from mfnet.config import Params, load_params
from mfnet.data.steps import StepBatches
from mfnet.flow import FlowEstimator
from mfnet.head import Flame
from mfnet.method.encoders import CompactEncoder, build_encoder
from mfnet.method.network import MFNet
from mfnet.method.training import Silent, train
from mfnet.render import Renderer
from mfnet.settings import open_flow_estimator
from pipeline.training_run import material_of, setting_of

_STEPS, _ROUNDS = 9, 3
_WITHOUT = "without equation 6"
_FORMS = (_WITHOUT, "precomputed", "measured", "in_loop")


class Clock(Silent):
    """Remembers when each step ended, and what its parts had taken until then."""

    def __init__(self, parts: dict[str, float]) -> None:
        self.times: list[float] = []
        self.parts: list[list[float]] = []
        self._parts = parts

    def log(self, step: int, values: dict[str, float]) -> None:
        """See `mfnet.method.training.Recorder`."""
        self.times.append(time.perf_counter())
        self.parts.append(list(self._parts.values()))


def steps_of(params: Params, form: str, parts: dict[str, float] | None = None) -> Clock:
    """A short training, by its clock."""
    of_loss = ["loss.multiop=0"] if form == _WITHOUT else [f"loss.multiop_form={form}"]
    short = [f"train.steps={_STEPS}", "train.log_every=1", "train.multiop_after=0"]
    params, clock = changed(params, [*short, *of_loss]), Clock(parts or {})
    with tempfile.TemporaryDirectory() as folder:
        train(setting_of(params, 0, params.loss), material_of(params, params.loss), clock, Path(folder), None)
    return clock


def seconds_of_steps(params: Params, form: str) -> list[float]:
    """Of each step of a short training but the first and the last, which also builds, judges and draws."""
    return np.diff(steps_of(params, form).times)[:-1].tolist()


def seconds_of_encoder(encoder: nn.Module, images: torch.Tensor) -> list[float]:
    """Of each forward and backward."""
    times = []
    for _ in range(_STEPS):
        began = time.perf_counter()
        encoder(images).sum().backward()
        times.append(time.perf_counter() - began)
    return times[1:]


_BESIDE = "loading and jitter (beside)"
# What a step is made of: name -> class and method. Loading goes on in a thread beside the rest.
_PARTS: dict[str, tuple[type, str]] = {
    _BESIDE: (StepBatches, "batch"),
    "encoder": (CompactEncoder, "forward"),
    "heads and fusion": (MFNet, "forward"),
    "decoder": (Flame, "forward"),
    "renderer: triangles": (Renderer, "view"),
    "renderer: pictures": (Renderer, "extract"),
    "renderer: texture": (Renderer, "render"),
    "flow": (FlowEstimator, "__call__"),
    "backward": (Fabric, "backward"),
    "optimiser": (torch.optim.Adam, "step"),
}
_INSIDE = {"heads and fusion": "encoder"}


@contextmanager
def timed_parts() -> Iterator[dict[str, float]]:
    """Seconds that each part has taken so far inside this block."""
    seconds, originals = dict.fromkeys(_PARTS, 0.0), {}

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            answer = work(*arguments, **named)
            seconds[name] += time.perf_counter() - began
            return answer

        return call

    for name, (owner, method) in _PARTS.items():
        originals[name] = getattr(owner, method)
        setattr(owner, method, timed(name, originals[name]))
    try:
        yield seconds
    finally:
        for name, (owner, method) in _PARTS.items():
            setattr(owner, method, originals[name])


def parts_table(params: Params) -> pd.DataFrame:
    """Milliseconds of a step's parts without equation 6 and with each of its forms; `rest` is what no part has."""
    columns = {}
    for form in _FORMS:
        with timed_parts() as seconds:
            clock = steps_of(params, form, seconds)
        # As of the steps' times: not the first one and the last, which also builds, judges and draws.
        of_steps = 1000 * np.diff(clock.parts, axis=0)[:-1].mean(0)
        parts = dict(zip(_PARTS, of_steps, strict=True))
        for whole, part in _INSIDE.items():
            parts[whole] -= parts[part]
        step = 1000 * float(np.diff(clock.times)[:-1].mean())
        parts["rest"] = step - sum(value for name, value in parts.items() if name != _BESIDE)
        columns[form] = parts | {"step": step}
    return pd.DataFrame(columns)


def seconds_of_flow(estimator: FlowEstimator, pairs: int, size: int, backward: bool) -> list[float]:
    """Of the flow network alone, over a step's pairs, with the way back where a form takes it."""
    times = []
    for _ in range(_STEPS):
        first, second = torch.rand(2, pairs, 3, size, size)
        began = time.perf_counter()
        if backward:
            estimator(first, second.requires_grad_()).sum().backward()
        else:
            with torch.no_grad():
                estimator(first, second)
        times.append(time.perf_counter() - began)
    return times[1:]


def main() -> None:
    """Measure in turns, so that a slow moment of the machine falls on all."""
    params = load_params()
    batch, size, pairs = params.train.batch, params.data.image_size, params.train.multiop_pairs
    encoder = build_encoder(params.network.encoder, params.network.features).to(memory_format=torch.channels_last)
    images, estimator = torch.rand(3 * batch, 3, size, size), open_flow_estimator(params.flow)
    seconds: dict[str, list[float]] = {"encoder alone": [], **{form: [] for form in _FORMS}}
    flow: dict[str, list[float]] = {"measured": [], "in_loop": []}
    for _ in range(_ROUNDS):
        seconds["encoder alone"] += seconds_of_encoder(encoder, images)
        for form in _FORMS:
            seconds[form] += seconds_of_steps(params, form)
        for form in flow:
            flow[form] += seconds_of_flow(estimator, pairs, size, backward=form == "in_loop")
    of = {name: float(np.median(times)) for name, times in seconds.items()}
    floors = {name: of["encoder alone"] + float(np.median(flow.get(name, [0.0]))) for name in of}
    table = pd.DataFrame({"triplets/s": {name: batch / each for name, each in of.items()}})
    table["of the encoder's"] = table["triplets/s"] / table["triplets/s"]["encoder alone"]
    # The encoder forwards and backwards, and the flow network that the form runs.
    table["times its floor"] = {name: each / floors[name] for name, each in of.items()}
    print(table.to_markdown(floatfmt=".2f"))
    after, own = params.train.multiop_after, params.loss.multiop_form
    mean = after * of[_WITHOUT] + (1 - after) * of[own]
    floor = after * floors[_WITHOUT] + (1 - after) * floors[own]
    print(f"\nover a training as params.yaml has it: {mean / floor:.2f} times the floor\n")
    print(parts_table(params).to_markdown(floatfmt=".0f"))


if __name__ == "__main__":
    main()
