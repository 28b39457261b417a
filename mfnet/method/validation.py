"""Judge a network in training on people that it has not seen, by a number and a picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mfnet.config import TrainParams
from mfnet.data.batches import TripletData
from mfnet.data.landmarks import OUTER_EYES
from mfnet.data.pairs import PAIRS, VIEWS
from mfnet.head import Flame
from mfnet.method.multiview import render_pairs
from mfnet.method.network import Parameters, decode, in_front_of
from mfnet.method.objective import Instruments
from mfnet.method.views import Decoder, Scene, ViewPairs

# Under each photograph the render that the picture shows there, of another view's texture.
_PICTURED_PAIRS = (("left", "front"), ("front", "left"), ("front", "right"))


class Judge(NamedTuple):
    """Looks at a network in training.

    network: in training mode, which it is left in; instruments: what draws it; held_out: the people; params: how many
    of them count, and how many at a time; device: where it works.
    """

    network: nn.Module
    instruments: Instruments
    held_out: TripletData
    params: TrainParams
    device: torch.device

    def landmark_error(self) -> float:
        """See `landmark_error`."""
        some = self.held_out.spread(self.params.validate_on)
        return landmark_error(self.network, self.instruments.landmark_flame, some, self.params.batch, self.device)

    def picture(self) -> np.ndarray:
        """See `training_picture`."""
        return training_picture(self.network, self.instruments.decoder, self.held_out, self.device)


@torch.no_grad()
def landmark_error(network: nn.Module, flame: Flame, data: TripletData, batch: int, device: torch.device) -> float:
    """Mean landmark error over a split as a fraction of the outer-eye distance.

    Errors are taken in the photographs' pixels and divided by the distance of landmarks 36 and 45 in the same
    triplet's frontal photograph, so that profiles, where that distance vanishes, count like the others.
    Where it is known where landmarks truly are, the errors are from there, else from where a detector has them.
    """
    network.eval()
    errors = []
    sides = np.stack([[crop[2] for crop in data.rows[f"{view}_crop"]] for view in VIEWS], 1) / 2
    start = 0
    for loaded in data.against_reference().batches(batch, with_pairs=False):
        triplets = loaded.to(device)
        parameters = in_front_of(Parameters(*network(triplets.images)), triplets.lens)
        projected = decode(flame, parameters, lens=triplets.lens).landmarks[..., :2].view_as(triplets.landmarks)
        side = torch.from_numpy(sides[start : start + len(triplets.images)]).to(device)
        start += len(triplets.images)
        distance = (projected - triplets.landmarks).norm(dim=-1).mean(-1) * side
        right, left = OUTER_EYES
        eyes = (triplets.landmarks[:, 0, right] - triplets.landmarks[:, 0, left]).norm(dim=-1) * side[:, 0]
        errors.append((distance / eyes[:, None]).flatten())
    network.train()
    return torch.cat(errors).mean().item()


@torch.no_grad()
def training_picture(network: nn.Module, decoder: Decoder, data: TripletData, device: torch.device) -> np.ndarray:
    """What the network makes of one held-out triplet, RGB uint8: photographs, shapes, I_{a->b}, MC."""
    network.eval()
    batch = next(data.batches(1)).to(device)
    scene = Scene(in_front_of(Parameters(*network(batch.images)), batch.lens), batch.images, batch.lens)
    decoded = decode(decoder.flame, scene.parameters, lens=scene.lens)
    shapes = decoder.renderer.depth_shading(decoder.renderer.view(decoded.vertices, decoded.projected))
    selection = torch.tensor([[0, PAIRS.index(pair)] for pair in _PICTURED_PAIRS], device=device)
    pairs = ViewPairs.of_batch(batch, selection, consistency=False)
    rendered = render_pairs(decoder, scene, pairs)
    photographs = batch.images[0]
    overlay = torch.where(shapes > 0, 0.35 * photographs + 0.65 * shapes, photographs)
    rows = [photographs, overlay, rendered.rendered, rendered.mask * rendered.photograph]
    network.train()
    picture = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    return (picture.clamp(0, 1) * 255).byte().permute(1, 2, 0).cpu().numpy()
