"""What is true of the pretraining's people against what the network says: the losses, and errors in per cent and mm."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mfnet.data.landmarks import OUTER_EYES
from mfnet.head import Directions, Flame, HeadModel, rotation_from_axis_angle
from mfnet.method.network import TYPICAL_SCALE, Parameters, decode, in_front_of
from mfnet.method.start import DensePoints, StartNetwork
from mfnet.pretraining.people import KnownPhotographs, People

N_POINTS = 320
IMAGE_SIZE, CROP_SCALE = 128, 1.25
# Errors count in these units: metres of the skin, halves of the crop, radians and so on.
WEIGHTS = {"vertices": 200.0, "landmarks": 10.0, "points": 1.0, "rotation": 1.0, "camera": 3.0, "light": 0.1}
_HELD_OUT_SEED, _N_HELD_OUT_SKINS, _HELD_OUT_BATCHES = 10**6, 64, 24


def spread_points(head: HeadModel, count: int = N_POINTS) -> np.ndarray:
    """Vertices [count] spread evenly over face and ears: from the nose's tip on each the furthest from the others."""
    among = np.flatnonzero(head.regions["face"] | head.regions.get("ears", head.regions["face"]))
    places = head.template[among].astype(np.float64)
    drawn = [int(places[:, 2].argmax())]
    distance = np.linalg.norm(places - places[drawn[0]], axis=1)
    while len(drawn) < count:
        drawn.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(places - places[drawn[-1]], axis=1))
    return among[drawn]


class Judge:
    """Compares what a network says with what is true."""

    def __init__(self, head: HeadModel, directions: Directions, device: torch.device) -> None:
        vertices = torch.from_numpy(spread_points(head))
        self._points = vertices.to(device)
        own = Flame(head, directions.n_shape, directions.n_expression)
        true = Flame(head, head.shape_directions.shape[2], head.expression_directions.shape[2])
        (self._own, place), (self._true, _) = own.only(vertices), true.only(vertices)
        self._place = place[vertices].to(device)
        self._own, self._true = self._own.to(device), self._true.to(device)

    def losses(self, parameters: Parameters, points: DensePoints, known: KnownPhotographs) -> dict[str, Tensor]:
        """Every term by name, each a scalar."""
        ours, truth = in_front_of(parameters, known.lens), known.truth
        skin = [
            flame(one.shape, one.expression, _at_rest(one.jaw)).vertices[:, self._place]
            for flame, one in ((self._own, ours), (self._true, truth))
        ]
        projected = decode(self._own, ours, lens=known.lens).landmarks[..., :2]
        rotation = rotation_from_axis_angle(ours.rotation) - rotation_from_axis_angle(truth.rotation)
        true_points = known.vertices[:, self._points, :2].view_as(points.places)
        missed = (points.places - true_points).abs().sum(-1)
        return {
            "vertices": (skin[0] - skin[1]).norm(dim=-1).mean(),
            "landmarks": (projected - known.landmarks).abs().sum(-1).mean(),
            "points": (missed / points.spread + 2 * points.spread.log()).mean() + 10,
            "rotation": rotation.flatten(2).norm(dim=-1).mean(),
            "camera": (ours.camera - truth.camera).abs().sum(-1).mean(),
            "light": (ours.light - truth.light).abs().mean(),
        }

    @torch.no_grad()
    def errors(self, parameters: Parameters, points: DensePoints, known: KnownPhotographs) -> dict[str, float]:
        """Of a batch: landmarks of the parameters and points in per cent of the outer-eye distance, rotation in degrees
        (median), skin in mm."""
        ours, truth = in_front_of(parameters, known.lens), known.truth
        out = self._true(truth.shape, truth.expression, _at_rest(truth.jaw))
        right, left = OUTER_EYES
        eyes = (out.landmarks[:, left] - out.landmarks[:, right]).norm(dim=-1)
        eyes = (eyes[:, None] * TYPICAL_SCALE * truth.camera[..., 0].exp()).flatten()[:, None]
        projected = decode(self._own, ours, lens=known.lens).landmarks[..., :2]
        true_points = known.vertices[:, self._points, :2]
        rotations = rotation_from_axis_angle(ours.rotation), rotation_from_axis_angle(truth.rotation)
        between = (rotations[0] * rotations[1]).flatten(2).sum(-1)
        angle = torch.rad2deg(((between - 1) / 2).clamp(-1, 1).arccos())
        return {
            "landmarks_percent": 100 * ((projected - known.landmarks).norm(dim=-1) / eyes).mean().item(),
            "points_percent": 100 * ((points.places.flatten(0, 1) - true_points).norm(dim=-1) / eyes).mean().item(),
            "rotation_degrees": angle.median().item(),
            "skin_mm": 1000 * self.losses(parameters, points, known)["vertices"].item(),
        }


def _at_rest(jaw: Tensor) -> Tensor:
    """Poses [B, 15] of heads that look ahead, with jaws [B, 3]."""
    still = torch.zeros_like(jaw)
    return torch.cat([still, still, jaw, still, still], 1)


@torch.no_grad()
def held_out_errors(network: StartNetwork, head: HeadModel, views: int) -> dict[str, float]:
    """What `Judge.errors` gives for people whom no training drew, in so many photographs each."""
    judge = Judge(head, network.mfnet.directions, torch.device("cpu"))
    people = People(head, IMAGE_SIZE, CROP_SCALE, _N_HELD_OUT_SKINS, _HELD_OUT_SEED)
    errors = []
    for batch in range(_HELD_OUT_BATCHES):
        rng = np.random.default_rng([_HELD_OUT_SEED, batch])
        known = people.draw(rng, 30 // views, views)
        parameters, points = network(known.images)
        errors.append(judge.errors(parameters, points, known))
    return {name: round(float(np.mean([one[name] for one in errors])), 3) for name in errors[0]}
