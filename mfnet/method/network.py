"""MFNet (section 3.1): a shared encoder, features fused over the views, heads for what is shared and per view."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mfnet.head import Directions, Flame
from mfnet.method.encoders import CENTRED, PixelRange, build_encoder
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

    def forward(self, features: Tensor, telling: Tensor | None = None) -> Tensor:
        """Of features [B, N, F]: [B, 3 F]; only of the views that are `telling`, [B, N] bool, where that is given."""
        fit = features @ self.roles.mT
        if telling is not None:
            fit = fit.masked_fill(~telling[..., None], -torch.inf)
        shares = fit.softmax(1)
        return (shares.mT @ features).flatten(1)


class MFNet(nn.Module):
    """Photographs of one person from any number of views to named parameters."""

    pixel_mean: Tensor
    pixel_spread: Tensor

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
        self.encoder: nn.Sequential = build_encoder(encoder, features).to(memory_format=torch.channels_last)
        # Kept with the weights, which know no other pixels.
        self.register_buffer("pixel_mean", torch.zeros(3, 1, 1))
        self.register_buffer("pixel_spread", torch.ones(3, 1, 1))
        self.expect(CENTRED)
        self._shared_sizes = [directions.n_shape, directions.n_expression, 3]
        self._view_sizes = [3, 3, directions.n_albedo, 27]
        self.fusion = RoleFusion(features)
        self.shared_head = _head(RoleFusion.ROLES * features, 2 * features, sum(self._shared_sizes))
        self.view_head = _head(features, features, sum(self._view_sizes))

    def expect(self, pixels: PixelRange) -> None:
        """Give the encoder pixels of another range from now on."""
        self.pixel_mean.copy_(self.pixel_mean.new_tensor(pixels.mean)[:, None, None])
        self.pixel_spread.copy_(self.pixel_spread.new_tensor(pixels.spread)[:, None, None])

    def forward(self, images: Tensor, telling: Tensor | None = None) -> Parameters:
        """Regress.

        Args:
            images: [B, N, 3, S, S] RGB in [0, 1], the N views of each person.
            telling: [B, N] bool, the views that shape, expression and jaw are told from; None: all.
        """
        return self.parameters_of(self.features(images), telling)

    def features(self, images: Tensor) -> Tensor:
        """What the encoder makes of each photograph, [B, N, F], of images [B, N, 3, S, S]."""
        pixels = (images.flatten(0, 1) - self.pixel_mean) / self.pixel_spread
        return self.encoder(pixels).unflatten(0, images.shape[:2])

    def parameters_of(self, features: Tensor, telling: Tensor | None = None) -> Parameters:
        """The parameters that features [B, N, F] stand for; see `forward`."""
        shape, expression, jaw = self.shared_head(self.fusion(features, telling)).split(self._shared_sizes, 1)
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
    import roma  # noqa: PLC0415 (it imports torch's compiler, which takes as long as all the rest)

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
