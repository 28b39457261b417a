"""A trained model as a folder: config.json, model.safetensors and head.npz."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mfnet.config import Count, Section, checked
from mfnet.errors import UserError
from mfnet.head import Directions, HeadModel
from mfnet.method.network import MFNet

CONFIG, WEIGHTS, HEAD = "config.json", "model.safetensors", "head.npz"


class ModelConfig(Section):
    """What has to be known of a model to use it, and nothing of how it was trained.

    version: of these words; a later reader knows by it what they mean.
    head: fingerprint of the head model whose parameters the network predicts.
    image_size, crop_scale: of the crops that it sees; see `mfnet.data.crop`.
    camera: whether it is to see known focal lengths in perspective; its rotations are against the ray to the head.
    assumed_focal: of photographs whose own focal length is not known, in lengths of their longer side; None: they are
        seen in scaled orthography.
    """

    version: Literal[3] = 3
    head: str
    n_shape: Count
    n_expression: Count
    n_albedo: Count
    encoder: str
    features: Count
    image_size: Count
    crop_scale: Annotated[float, Field(gt=0)]
    camera: Literal["orthographic", "pinhole"] = "orthographic"
    assumed_focal: Annotated[float, Field(gt=0)] | None = None

    @property
    def directions(self) -> Directions:
        """How many of the head's directions the network predicts."""
        return Directions(self.n_shape, self.n_expression, self.n_albedo)


class Model(NamedTuple):
    """A network in evaluation mode, the head that its parameters are of, and what has to be known of both."""

    config: ModelConfig
    network: MFNet
    head: HeadModel


def write_model(folder: Path, config: ModelConfig, network: MFNet, head: HeadModel) -> None:
    """Write a model's three files."""
    weights = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config.model_dump(mode="json"), indent=1) + "\n")
    head.save(folder / HEAD)


def load_model(folder: Path, device: torch.device) -> Model:
    """Read what `write_model` wrote.

    Raises:
        UserError: the folder or a file in it is missing, or is not a model's, or the head is another one.
    """
    for name in (CONFIG, WEIGHTS, HEAD):
        if not (folder / name).is_file():
            raise UserError(f"model: {folder / name} is missing; expected what the train stage writes (make repro)")
    config, head = _read_config(folder / CONFIG), HeadModel.load(folder / HEAD)
    if config.head != head.fingerprint:
        raise UserError(f"model: {folder / HEAD} is head {head.fingerprint}; the network is of {config.head}")
    try:
        network = MFNet(config.encoder, config.features, config.directions)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (AttributeError, RuntimeError, OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"model: {folder / WEIGHTS} does not fit {CONFIG} beside it ({reason})") from error
    return Model(config, network.to(device).eval(), head)


def _read_config(path: Path) -> ModelConfig:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"model: {path} is not JSON ({error})") from error
    if not isinstance(content, dict) or content.get("version") != 3:
        raise UserError(f"model: {path} is of another version of this package; train the model anew, or use that one")
    return checked(ModelConfig, content, path)
