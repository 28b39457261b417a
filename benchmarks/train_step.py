"""How much of a training step is the encoder's: `python benchmarks/train_step.py` after `dvc repro flow`; two minutes.

Prints triplets a second of training as it runs (loading, jitter, network, losses, optimiser) without equation 6 and
with each of its forms, beside the encoder's forward and backward alone: medians over steps, all in turns.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from trials import changed

from mfnet.config import Params, load_params
from mfnet.method.encoders import build_encoder
from mfnet.method.training import Silent, train
from pipeline.training_run import material_of, setting_of

_STEPS, _ROUNDS = 9, 3
_WITHOUT = "without equation 6"
_FORMS = (_WITHOUT, "precomputed", "measured", "in_loop")


class Clock(Silent):
    """Remembers when each step ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def log(self, step: int, values: dict[str, float]) -> None:
        """See `mfnet.method.training.Recorder`."""
        self.times.append(time.perf_counter())


def seconds_of_steps(params: Params, form: str) -> list[float]:
    """Of each step of a short training but the first and the last, which also builds, judges and draws."""
    of_loss = ["loss.multiop=0"] if form == _WITHOUT else [f"loss.multiop_form={form}"]
    short = [f"train.steps={_STEPS}", "train.log_every=1", "train.multiop_after=0"]
    params, clock = changed(params, [*short, *of_loss]), Clock()
    with tempfile.TemporaryDirectory() as folder:
        train(setting_of(params, 0, params.loss), material_of(params, params.loss), clock, Path(folder), None)
    return np.diff(clock.times)[:-1].tolist()


def seconds_of_encoder(encoder: nn.Module, images: torch.Tensor) -> list[float]:
    """Of each forward and backward."""
    times = []
    for _ in range(_STEPS):
        began = time.perf_counter()
        encoder(images).sum().backward()
        times.append(time.perf_counter() - began)
    return times[1:]


def main() -> None:
    """Measure in turns, so that a slow moment of the machine falls on all."""
    params = load_params()
    batch, size = params.train.batch, params.data.image_size
    encoder = build_encoder(params.network.encoder, params.network.features).to(memory_format=torch.channels_last)
    images = torch.rand(3 * batch, 3, size, size)
    seconds: dict[str, list[float]] = {"encoder alone": [], **{form: [] for form in _FORMS}}
    for _ in range(_ROUNDS):
        seconds["encoder alone"] += seconds_of_encoder(encoder, images)
        for form in _FORMS:
            seconds[form] += seconds_of_steps(params, form)
    speed = {name: batch / float(np.median(times)) for name, times in seconds.items()}
    rows = [
        {"": name, "triplets/s": each, "of the encoder's": each / speed["encoder alone"]}
        for name, each in speed.items()
    ]
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".2f"))


if __name__ == "__main__":
    main()
