"""The shared encoder: what it is built of, and published weights that it starts from."""

from __future__ import annotations

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mfnet.errors import UserError


class PixelRange(NamedTuple):
    """What an encoder expects of pixels in [0, 1]: minus the mean, over the spread; of red, green and blue."""

    mean: tuple[float, float, float]
    spread: tuple[float, float, float]


CENTRED = PixelRange((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# torchvision's weights were trained on ImageNet's pixels; DECA's on pixels as they are (its datasets divide by 255).
IMAGENET = PixelRange((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNCHANGED = PixelRange((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class _Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        across = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.shortcut = nn.Identity() if channels == width and stride == 1 else across

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.shortcut(x)).relu()


class CompactEncoder(nn.Sequential):
    """Thirteen convolutions with shortcuts that keep the layout of a small crop; for two CPU cores.

    The first one already strides by four: at full resolution two cores would spend a third of their time there.
    """

    def __init__(self, features: int) -> None:
        super().__init__(
            nn.Conv2d(3, 48, 7, 4, 3, bias=False), nn.BatchNorm2d(48), nn.ReLU(inplace=True),
            _Block(48, 48, 1), _Block(48, 96, 2), _Block(96, 96, 1), _Block(96, 192, 2), _Block(192, 192, 1),
            _Block(192, 256, 2), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
            nn.Linear(256 * 16, features), nn.ReLU(inplace=True),
        )  # fmt: skip


def build_encoder(name: str, features: int) -> nn.Sequential:
    """An encoder with random weights, by the name that `network.encoder` has."""
    if name == "compact":
        return CompactEncoder(features)
    from torchvision import models  # noqa: PLC0415  takes seconds, and the compact encoder does without

    encoder = getattr(models, name)(weights=None)
    width = encoder.fc.in_features
    encoder.fc = nn.Identity()
    return nn.Sequential(encoder, nn.Linear(width, features), nn.ReLU(inplace=True))


_UNREADABLE = (
    RuntimeError, OSError, ValueError, AttributeError, TypeError, EOFError, UnpicklingError, SafetensorError,
)  # fmt: skip
_NAMED = 6
_OF_BODY = re.compile(r"layer\d")


def _require_same(path: Path, expected: set[str], found: set[str]) -> None:
    """Refuse a file without the encoder's tensors, and one of a deeper encoder, whose first blocks have these names."""
    missing, deeper = sorted(expected - found), sorted(key for key in found - expected if _OF_BODY.match(key))
    if missing or deeper:
        what = f"lacks {missing[0]}" if missing else f"has {deeper[0]} besides"
        raise UserError(f"{path} {what}; expected the encoder that network names")


def load_encoder(encoder: nn.Sequential, path: Path) -> tuple[PixelRange, str]:
    """Start an encoder from a torchvision state dict, or from DECA's (keys `E_flame` and `encoder.`).

    Returns:
        The pixels that these weights were trained on, and a sentence that says what was taken of the file and what not.

    Raises:
        UserError: there is no file, or it is not that encoder's; the compact encoder has no published weights.
    """
    if not path.is_file():
        raise UserError(f"no file at {path}; expected a state dict of the encoder, or null")
    if isinstance(encoder, CompactEncoder):
        raise UserError(f"{path} cannot be loaded into the compact encoder; expected null, or a ResNet as the encoder")
    body = encoder[0]
    expected = body.state_dict()
    try:
        safe = path.suffix == ".safetensors"
        loaded: Any = load_file(path) if safe else torch.load(path, weights_only=True, map_location="cpu")
        of_deca = "E_flame" in loaded
        state = {key.removeprefix("encoder."): value for key, value in loaded.get("E_flame", loaded).items()}
        _require_same(path, set(expected), set(state))
        body.load_state_dict({key: state[key] for key in expected})
    except _UNREADABLE as error:
        raise UserError(f"{path} does not fit the encoder ({str(error)[:200]})") from error
    left = [key for key in state if key not in expected] + [key for key in loaded if of_deca and key != "E_flame"]
    pixels, whose = (UNCHANGED, "DECA's, of plain pixels") if of_deca else (IMAGENET, "torchvision's, of ImageNet's")
    some = ", ".join(sorted(left)[:_NAMED]) + (f" and {len(left) - _NAMED} more" if len(left) > _NAMED else "")
    not_taken = f"not taken: {some}" if left else "nothing else is in it"
    return pixels, f"{len(expected)} tensors of the encoder from {path} ({whose}); {not_taken}"
