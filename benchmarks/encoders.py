"""Which encoder the packaged network should have: errors after a short training, beside the encoder's time.

`python benchmarks/encoders.py` trains each encoder on the same batches and prints the table of docs/start.md; about an
hour on one core. With `--encoder NAME` only one, from batches that an earlier call has drawn.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import models

from mfnet.head import Directions, anny_head
from mfnet.method.encoders import CompactEncoder
from mfnet.method.network import Parameters
from mfnet.method.start import StartNetwork
from mfnet.pretraining.judge import IMAGE_SIZE, WEIGHTS, Judge, held_out_errors, spread_points
from mfnet.pretraining.people import KnownPhotographs
from mfnet.pretraining.start import StepBatches, learning_rate_at
from mfnet.render.camera import Lens

FEATURES, IMAGES = 256, 32
_RATE = {"learning_rate": 1e-3, "constant": 0.7}


def _torchvision(name: str) -> nn.Module:
    """A network of torchvision whose last layer gives features."""
    return nn.Sequential(getattr(models, name)(num_classes=FEATURES), nn.ReLU(inplace=True))


def _small_transformer() -> nn.Module:
    network = models.VisionTransformer(IMAGE_SIZE, 16, 6, 3, 192, 768, num_classes=FEATURES)
    return nn.Sequential(network, nn.ReLU(inplace=True))


def _plain_compact() -> nn.Module:
    """The compact encoder without shortcuts, half as deep where the picture is small."""
    layers: list[nn.Module] = []
    channels = 3
    for width, kernel, stride in (
        (48, 7, 4), (48, 3, 1), (96, 3, 2), (96, 3, 1), (160, 3, 2), (160, 3, 1), (224, 3, 2),
    ):  # fmt: skip
        convolution = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(channels * 16, FEATURES), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


ENCODERS = {
    "compact": lambda: CompactEncoder(FEATURES),
    "compact without shortcuts": _plain_compact,
    "mobilenet_v3_small": lambda: _torchvision("mobilenet_v3_small"),
    "mobilenet_v3_large": lambda: _torchvision("mobilenet_v3_large"),
    "shufflenet_v2_x1_0": lambda: _torchvision("shufflenet_v2_x1_0"),
    "resnet18": lambda: _torchvision("resnet18"),
    "small transformer": _small_transformer,
}


class StoredBatches(Dataset[KnownPhotographs]):
    """The batches of a training, drawn once."""

    def __init__(self, folder: Path, steps: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._drawn, self._folder = StepBatches(steps, IMAGES, 0), folder

    def __len__(self) -> int:
        return len(self._drawn)

    def __getitem__(self, step: int) -> KnownPhotographs:
        path = self._folder / f"{step:05d}.pt"
        if not path.is_file():
            known = self._drawn[step]
            coarse = ((known.images * 255).to(torch.uint8), tuple(known.truth), tuple(known.lens), *known[3:])
            partial = path.with_suffix(".part")
            torch.save(coarse, partial)
            partial.rename(path)
        images, truth, lens, vertices, landmarks = torch.load(path)
        return KnownPhotographs(images.float() / 255, Parameters(*truth), Lens(*lens), vertices, landmarks)


def milliseconds(encoder: nn.Module) -> tuple[float, float]:
    """Of 32 images: forwards and backwards, and of one image forwards alone; the medians of eight."""
    images, alone = torch.rand(IMAGES, 3, IMAGE_SIZE, IMAGE_SIZE), torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    times: dict[str, list[float]] = {"both": [], "alone": []}
    for _ in range(8):
        began = time.perf_counter()
        encoder(images).sum().backward()
        times["both"].append(time.perf_counter() - began)
        with torch.no_grad():
            began = time.perf_counter()
            encoder.eval()(alone)
            times["alone"].append(time.perf_counter() - began)
        encoder.train()
    both, single = (1000 * float(np.median(one)) for one in times.values())
    return both, single


def trained(encoder: nn.Module, data: StoredBatches) -> dict[str, float]:
    """Errors on held-out people after a training of its own length."""
    torch.manual_seed(0)
    head, directions = anny_head(), Directions()
    network = StartNetwork("compact", FEATURES, directions, torch.from_numpy(spread_points(head)))
    network.mfnet.encoder = encoder  # type: ignore[assignment]
    judge = Judge(head, directions, torch.device("cpu"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE["learning_rate"], weight_decay=1e-4)
    for step, known in enumerate(DataLoader(data, batch_size=None)):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, _RATE | {"steps": len(data)})
        losses = judge.losses(*network(known.images), known)
        optimizer.zero_grad()
        torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
    return held_out_errors(network.eval(), head, views=3)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--encoder", choices=ENCODERS, action="append")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--folder", type=Path, default=Path("data/encoder_batches"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = StoredBatches(arguments.folder, arguments.steps)
    print("| encoder | weights, M | 32 images, both ways, ms | one image, ms | landmarks, % | points, % | skin, mm |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.encoder or ENCODERS:
        encoder = ENCODERS[name]().to(memory_format=torch.channels_last)
        size = sum(weights.numel() for weights in encoder.parameters()) / 1e6
        both, alone = milliseconds(encoder)
        errors = trained(encoder, data)
        told = [errors[of] for of in ("landmarks_percent", "points_percent", "skin_mm")]
        row = [name, f"{size:.1f}", f"{both:.0f}", *(f"{value:.1f}" for value in (alone, *told))]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
