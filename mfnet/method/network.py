"""MFNet (section 3.1): a shared encoder, features fused over the views, heads for what is shared and per view."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import roma
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mfnet.errors import UserError
from mfnet.head import Directions, Flame
from mfnet.render.camera import Lens, orthographic_project

# Of a crop by DECA's rule: the square is about 0.2 m wide, so [-1, 1] spans s = 10 per metre.
TYPICAL_SCALE = 10.0
_TYPICAL_AMBIENT = 2.4
_SPREAD = {"rotation": 1.0, "camera": 0.1, "jaw": 0.2, "light": 0.3}


class Parameters(NamedTuple):
    """What MFNet predicts for a batch of B people in N views.

    shape [B, n_shape], expression [B, n_expression] and jaw [B, 3] (axis-angle) are shared by the views, but for
    photographs that are not of one instant: then expression [B, N, n_expression] and jaw [B, N, 3]; rotation
    [B, N, 3] (axis-angle of the head), camera [B, N, 3] (log of the scale over 10, and where the landmarks' mean
    projects, in [-1, 1]), albedo [B, N, K] and light [B, N, 9, 3] are each view's own.
    """

    shape: Tensor
    expression: Tensor
    jaw: Tensor
    rotation: Tensor
    camera: Tensor
    albedo: Tensor
    light: Tensor


class Decoded(NamedTuple):
    """Heads in front of their cameras, views unrolled into the batch (B * N).

    vertices [B*N, V, 3] metres in FLAME's axes, projected [B*N, V, 3] and landmarks [B*N, 68, 3] in the crop's
    [-1, 1] with depth, camera [B*N, 3] (s, tx, ty) of `orthographic_project`; in front of a lens the two agree at the
    depth of the landmarks' mean.
    """

    vertices: Tensor
    projected: Tensor
    landmarks: Tensor
    camera: Tensor


class CompactEncoder(nn.Sequential):
    """Seven convolutions that keep the layout of a small crop; for two CPU cores.

    The first one already strides by four: at full resolution two cores would spend a third of their time there.
    """

    def __init__(self, features: int) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for width, kernel, stride in (
            (48, 7, 4), (48, 3, 1), (96, 3, 2), (96, 3, 1), (160, 3, 2), (160, 3, 1), (224, 3, 2),
        ):  # fmt: skip
            layers += [
                nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(channels * 16, features), nn.ReLU(inplace=True)]
        super().__init__(*layers)


def _encoder(name: str, features: int) -> nn.Sequential:
    if name == "compact":
        return CompactEncoder(features)
    from torchvision import models  # noqa: PLC0415  takes seconds, and the compact encoder does without

    encoder = getattr(models, name)(weights=None)
    width = encoder.fc.in_features
    encoder.fc = nn.Identity()
    return nn.Sequential(encoder, nn.Linear(width, features), nn.ReLU(inplace=True))


def load_encoder(network: MFNet, path: Path) -> None:
    """Start a network's encoder from a torchvision state dict, or from DECA's (keys `E_flame` and `encoder.`).

    Raises:
        UserError: there is no file, or it is not that encoder's; the compact encoder has no published weights.
    """
    if not path.is_file():
        raise UserError(f"no file at {path}; expected a state dict of the encoder, or null")
    if isinstance(network.encoder, CompactEncoder):
        raise UserError(f"{path} cannot be loaded into the compact encoder; expected null, or a ResNet as the encoder")
    encoder = network.encoder[0]
    try:
        safe = path.suffix == ".safetensors"
        loaded: Any = load_file(path) if safe else torch.load(path, weights_only=True, map_location="cpu")
        loaded = loaded.get("E_flame", loaded)
        state = {key.removeprefix("encoder."): value for key, value in loaded.items()}
        missing = [key for key in encoder.state_dict() if key not in state]
        if missing:
            raise UserError(f"{path} lacks {missing[0]}; expected the encoder that network names")
        encoder.load_state_dict({key: state[key] for key in encoder.state_dict()})
    except (RuntimeError, OSError, ValueError, UnpicklingError, SafetensorError) as error:
        raise UserError(f"{path} does not fit the encoder ({str(error)[:200]})") from error


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two layers that begin near zero, so that training starts from the mean head."""
    last = nn.Linear(hidden, outputs)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), last)


class RoleFusion(nn.Module):
    """Features of any number of views, in any order, to one vector.

    The paper concatenates the features of front, left and right. Here three roles are learned: each takes the mixture
    of the views that suits it, and the three mixtures are concatenated. Roles that single out one view each give the
    paper's vector; a lone view takes every role.
    """

    ROLES = 3

    def __init__(self, features: int) -> None:
        super().__init__()
        self.roles = nn.Parameter(torch.randn(self.ROLES, features) / features**0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Of features [B, N, F]: [B, 3 F]."""
        shares = (features @ self.roles.mT).softmax(1)
        return (shares.mT @ features).flatten(1)


class MFNet(nn.Module):
    """Photographs of one person from any number of views to named parameters."""

    def __init__(self, encoder: str, features: int, directions: Directions) -> None:
        """Build it with random weights.

        Args:
            encoder: compact, resnet18 or resnet50.
            features: of a photograph.
            directions: of the head model.
        """
        super().__init__()
        self.directions = directions
        # Channels last is the layout that convolutions are fastest in, on CPUs and GPUs.
        self.encoder: nn.Sequential = _encoder(encoder, features).to(memory_format=torch.channels_last)
        self._shared_sizes = [directions.n_shape, directions.n_expression, 3]
        self._view_sizes = [3, 3, directions.n_albedo, 27]
        self.fusion = RoleFusion(features)
        self.shared_head = _head(RoleFusion.ROLES * features, 2 * features, sum(self._shared_sizes))
        self.view_head = _head(features, features, sum(self._view_sizes))

    def forward(self, images: Tensor) -> Parameters:
        """Regress.

        Args:
            images: [B, N, 3, S, S] RGB in [0, 1], the N views of each person.
        """
        return self.parameters_of(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """What the encoder makes of each photograph, [B, N, F], of images [B, N, 3, S, S]."""
        return self.encoder(images.flatten(0, 1) * 2 - 1).unflatten(0, images.shape[:2])

    def parameters_of(self, features: Tensor) -> Parameters:
        """The parameters that features [B, N, F] stand for."""
        shape, expression, jaw = self.shared_head(self.fusion(features)).split(self._shared_sizes, 1)
        rotation, camera, albedo, light = self.view_head(features).split(self._view_sizes, 2)
        ambient = torch.zeros_like(light[..., :3]) + _TYPICAL_AMBIENT
        light = _SPREAD["light"] * light + torch.nn.functional.pad(ambient, (0, 24))
        return Parameters(
            shape, expression, _SPREAD["jaw"] * jaw, _SPREAD["rotation"] * rotation, _SPREAD["camera"] * camera,
            albedo, light.unflatten(2, (9, 3)),
        )  # fmt: skip


def mean_parameters(people: int, views: int, directions: Directions) -> Parameters:
    """The mean head, neutral, looking ahead in the middle of every crop under even light."""
    light = torch.zeros(people, views, 9, 3)
    light[:, :, 0] = _TYPICAL_AMBIENT
    n_shape, n_expression, n_albedo = directions
    return Parameters(
        torch.zeros(people, n_shape), torch.zeros(people, n_expression), torch.zeros(people, 3),
        torch.zeros(people, views, 3), torch.zeros(people, views, 3), torch.zeros(people, views, n_albedo), light,
    )  # fmt: skip


def in_front_of(parameters: Parameters, lens: Lens | None) -> Parameters:
    """What the network says of crops as parameters of heads in front of their pinholes.

    A crop does not tell where in the photograph it lies: the network's rotations are against the ray to the head, those
    of `decode` against the camera's axis.

    Args:
        parameters: of B people in N views, as the network gives them.
        lens: of the unrolled views; None, where the two rotations are one, changes nothing.
    """
    if lens is None:
        return parameters
    turn = lens.turn(parameters.camera.flatten(0, 1)[:, 1:]).view_as(parameters.rotation)
    return parameters._replace(rotation=roma.rotvec_composition((turn, parameters.rotation)))


def decode(flame: Flame, parameters: Parameters, views: Tensor | None = None, lens: Lens | None = None) -> Decoded:
    """Parameters to heads in front of cameras (equation 1 and the scaled orthography of every view).

    Args:
        flame: the decoder; one restricted to the landmarks gives only their vertices.
        parameters: of B people in N views.
        views: [M] int64 indices into the unrolled B * N views to decode; None is all of them.
        lens: of the unrolled views where the focal lengths are known: then scale and place are those of the landmarks'
            mean, and what is nearer is seen larger.
    """
    n_views = parameters.rotation.shape[1]
    if views is None:
        views = torch.arange(parameters.rotation.shape[:2].numel(), device=parameters.shape.device)
    person = views // n_views
    rotation, camera = parameters.rotation.flatten(0, 1)[views], parameters.camera.flatten(0, 1)[views]
    still = torch.zeros_like(rotation)
    expression, jaw = (
        part[person] if part.dim() == 2 else part.flatten(0, 1)[views]
        for part in (parameters.expression, parameters.jaw)
    )
    out = flame(parameters.shape[person], expression, torch.cat([rotation, still, jaw, still, still], 1))
    scale = TYPICAL_SCALE * camera[:, :1].exp()
    # The crop is centred on the landmarks, so the network says where their mean is and not where the neck is.
    mean = out.landmarks.mean(1)
    shift = camera[:, 1:] * camera.new_tensor([1, -1]) / scale - mean[:, :2]
    full = torch.cat([scale, shift], 1)
    if lens is None:
        vertices, landmarks = (orthographic_project(points, full) for points in (out.vertices, out.landmarks))
    else:
        pinhole = lens.of(views)
        vertices, landmarks = (
            pinhole.project(points, mean, scale, camera[:, 1:]) for points in (out.vertices, out.landmarks)
        )
    return Decoded(out.vertices, vertices, landmarks, full)
