"""The packaged start: MFNet that also sees where points of the head lie, trained by `mfnet.pretraining.start`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mfnet.errors import UserError
from mfnet.head import Directions
from mfnet.method.encoders import CENTRED
from mfnet.method.network import MFNet, Parameters

FOLDER = Path(__file__).with_name("weights")
_WEIGHTS, _CARD = "start.safetensors", "start.json"
# The spread of a point is at least this share of half a crop: a quarter of a pixel.
_LEAST_SPREAD = 0.004


class StartConfig(NamedTuple):
    """What has to be known of the start to use it.

    head: fingerprint of the head model whose parameters and points it knows.
    encoder, features, directions: see `MFNet`.
    image_size, crop_scale: of the crops that it was trained on; see `mfnet.data.crop`.
    """

    head: str
    encoder: str
    features: int
    directions: Directions
    image_size: int
    crop_scale: float


class DensePoints(NamedTuple):
    """Where points of the head lie in B people's N photographs.

    vertices: [K] int64, which of the head model's they are.
    places: [B, N, K, 2] in the crop's [-1, 1], also of points that the photograph does not show.
    spread: [B, N, K] of the places, in the same unit: of Laplace's distribution, for x and y alike.
    """

    vertices: Tensor
    places: Tensor
    spread: Tensor


class StartNetwork(nn.Module):
    """MFNet with another head, for the points (after Wood et al., "3D Face Reconstruction with Dense Landmarks")."""

    point_vertices: Tensor

    def __init__(self, encoder: str, features: int, directions: Directions, point_vertices: Tensor) -> None:
        """Build it with random weights.

        Args:
            encoder, features, directions: see `MFNet`.
            point_vertices: [K] int64, which vertices of the head model the points are.
        """
        super().__init__()
        self.mfnet = MFNet(encoder, features, directions)
        self.register_buffer("point_vertices", point_vertices)
        self.point_head = nn.Sequential(
            nn.Linear(features, 2 * features), nn.ReLU(), nn.Linear(2 * features, 3 * len(point_vertices))
        )

    def forward(self, images: Tensor) -> tuple[Parameters, DensePoints]:
        """Of images [B, N, 3, S, S] in [0, 1]."""
        features = self.mfnet.features(images)
        return self.mfnet.parameters_of(features), self._points_of(features)

    def points(self, images: Tensor) -> DensePoints:
        """The points alone, of images [B, N, 3, S, S] in [0, 1]."""
        return self._points_of(self.mfnet.features(images))

    def _points_of(self, features: Tensor) -> DensePoints:
        places = self.point_head(features).unflatten(-1, (len(self.point_vertices), 3))
        spread = _LEAST_SPREAD + nn.functional.softplus(places[..., 2] - 3)
        return DensePoints(self.point_vertices, places[..., :2], spread)


def write_start(folder: Path, network: StartNetwork, config: StartConfig, card: dict[str, Any]) -> None:
    """Write weights, halved in precision, and the card: the config, and how the network was trained."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    save_file({name: value.contiguous().cpu() for name, value in state.items()}, folder / _WEIGHTS)
    known = {**config._asdict(), "directions": config.directions._asdict()}
    (folder / _CARD).write_text(json.dumps({"config": known, **card}, indent=1) + "\n")


def load_start(folder: Path = FOLDER) -> tuple[StartNetwork, StartConfig]:
    """The start, in evaluation mode, and what has to be known of it; of the package, unless another folder is named."""
    known = json.loads((folder / _CARD).read_text())["config"]
    config = StartConfig(**{**known, "directions": Directions(**known["directions"])})
    state = load_file(folder / _WEIGHTS)
    network = StartNetwork(config.encoder, config.features, config.directions, state["point_vertices"])
    network.load_state_dict(state)
    return network.eval(), config


def resized(photographs: Tensor, size: int) -> Tensor:
    """Photographs [B, N, 3, S, S] with so many pixels a side, as a network was trained on."""
    flat = nn.functional.interpolate(photographs.flatten(0, 1), (size, size), mode="bilinear", antialias=True)
    return flat.unflatten(0, photographs.shape[:2])


def start_files() -> list[Path]:
    """The files that the packaged start is read from."""
    return [FOLDER / _WEIGHTS, FOLDER / _CARD]


def start_from(network: MFNet, encoder: str, features: int, directions: Directions, head: str) -> str:
    """Give a network the packaged start's weights.

    Rotation, camera and light mean the same for every head model, shape, expression and jaw only for the start's own.
    The skins that the start was trained on have no albedo parameters.

    Args:
        network: of any head; changed in place.
        encoder, features, directions: those that it was built with.
        head: fingerprint of its head model.

    Returns:
        A sentence that says what was taken.

    Raises:
        UserError: the network has another encoder.
    """
    start, config = load_start()
    if (encoder, features) != (config.encoder, config.features):
        raise UserError(
            f"the packaged weights are those of encoder {config.encoder} with {config.features} features, "
            f"not of {encoder} with {features}"
        )
    network.encoder.load_state_dict(start.mfnet.encoder.state_dict())
    network.expect(CENTRED)
    ours, theirs = directions, config.directions
    light = (6 + ours.n_albedo, 6 + theirs.n_albedo, 27)
    _take_rows(network.view_head, start.mfnet.view_head, [(0, 0, 6), light])
    if head != config.head:
        return f"encoder, rotation, camera and light from the packaged start; the rest anew, for head {head} is another"
    network.fusion.load_state_dict(start.mfnet.fusion.state_dict())
    n_shape, n_expression = (min(pair) for pair in zip(ours[:2], theirs[:2], strict=True))
    shared = [
        (0, 0, n_shape),
        (ours.n_shape, theirs.n_shape, n_expression),
        (sum(ours[:2]), sum(theirs[:2]), 3),
    ]
    _take_rows(network.shared_head, start.mfnet.shared_head, shared)
    return "all but albedo from the packaged start"


def _take_rows(target: nn.Sequential, source: nn.Sequential, rows: list[tuple[int, int, int]]) -> None:
    """Copy the first layer, and some rows of the last: (where to, where from, how many)."""
    target[0].load_state_dict(source[0].state_dict())
    with torch.no_grad():
        for to, begin, count in rows:
            for name in ("weight", "bias"):
                getattr(target[-1], name)[to : to + count] = getattr(source[-1], name)[begin : begin + count]
