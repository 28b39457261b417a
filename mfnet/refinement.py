"""Refinement of a reconstruction: parameters optimised against landmarks and the flow between its photographs."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mfnet.config import FitParams, HeadParams
from mfnet.covisible import landmark_mask
from mfnet.data.batches import TripletBatch
from mfnet.flow import FlowEstimator
from mfnet.head import Flame, HeadModel, rotation_from_axis_angle
from mfnet.landmark_fit import LandmarkFit, Residuals, landmark_residuals, person_of, solve
from mfnet.multiview import Correspondences, ViewPairs, correspondences
from mfnet.network import Parameters, decode
from mfnet.render import Renderer
from mfnet.render.camera import Lens
from mfnet.render.rasterize import screen_barycentric

# Every so many pixels a correspondence is used: those of neighbours err alike.
_STRIDE = 8
# How far from a triangle a place may lie, in its barycentric coordinates.
_BESIDE = 1.0


class Matches(NamedTuple):
    """K pieces of skin that two photographs show.

    view_a, view_b [K] int64 into the unrolled views; corners [K, 3] int64, vertices of the triangle that lies at source
    in a; source, target [K, 2], where it is seen in a and in b, in [-1, 1].
    """

    view_a: Tensor
    view_b: Tensor
    corners: Tensor
    source: Tensor
    target: Tensor

    def carried_over(self, projected: Tensor) -> Tensor:
        """Where heads [B * N, V, 3] have in b what they show at source in a, [K, 2]; differentiable in both views."""
        in_a, in_b = (projected[view[:, None], self.corners, :2] for view in (self.view_a, self.view_b))
        return (screen_barycentric(in_a, self.source)[..., None] * in_b).sum(1)

    def of_person(self, person: int, n_views: int) -> Matches:
        """Those of one person, views counted from that person's first; double precision, on the CPU."""
        kept = self.view_a // n_views == person
        view_a, view_b, corners, source, target = (part[kept].cpu() for part in self)
        return Matches(view_a % n_views, view_b % n_views, corners, source.double(), target.double())


class Refinement:
    """Parameters optimised from where a network or a fit left them: by landmarks, then also by flow between the views.

    To the landmark fit's energy comes, for every piece of skin that two photographs show, by flow from one to the
    render of the other, how far the head is from putting it where it is seen. Flow is measured anew in every round,
    from renders that then lie nearer. One photograph has its landmarks alone.
    """

    def __init__(
        self, head: HeadModel, params: HeadParams, fit: FitParams, image_size: int, estimator: FlowEstimator,
        workers: int | None = 1,
    ) -> None:  # fmt: skip
        """Refine with a head model.

        Args:
            head: the head model.
            params: how many of its directions.
            fit: the noise, the iterations and the rounds.
            image_size: of the photographs' squares.
            estimator: of the flow.
            workers: processes, each for a person; None is one per core.
        """
        self._flame = Flame(head, params.n_shape, params.n_expression)
        self._exact = Flame(head, params.n_shape, params.n_expression).double()
        self._renderer = Renderer(head, image_size, image_size, params.n_albedo)
        self._by_landmarks = LandmarkFit(head, params, fit, workers)
        self._estimator, self._fit, self._workers = estimator, fit, workers

    def __call__(self, start: Parameters, pixels: Tensor, landmarks: Tensor, lens: Lens | None = None) -> Parameters:
        """Refine B people, each in N views.

        Args:
            start: their parameters; albedo and light stay as they are.
            pixels: [B, N, 3, S, S] in [0, 1].
            landmarks: [B, N, 68, 2] in [-1, 1].
            lens: of the unrolled views, where the focal lengths are known.
        """
        start = self._by_landmarks.nearest_start(start, landmarks, lens)
        parameters = self._by_landmarks.refine(start, landmarks, lens)
        if pixels.shape[1] == 1 or not self._fit.rounds:
            return parameters
        flame, renderer = self._flame.to(pixels.device), self._renderer.to(pixels.device)
        batch, pairs = _every_pair(parameters, pixels, landmarks)
        for _ in range(self._fit.rounds):
            found = correspondences(flame, renderer, self._estimator, parameters, batch, pairs, lens)
            projected = decode(flame, parameters, lens=lens).projected
            matches = _matches(found, pairs, projected, renderer.faces)
            residuals = partial(self._residuals, matches, landmarks, lens)
            parameters = solve(parameters, residuals, self._fit.iterations, self._workers)
        return parameters

    def _residuals(self, matches: Matches, landmarks: Tensor, lens: Lens | None, person: int) -> Residuals:
        points, pinholes = person_of(landmarks, lens, person)
        own = matches.of_person(person, landmarks.shape[1])
        flame, place = self._exact.only(own.corners.flatten())
        own, fit = own._replace(corners=place[own.corners]), self._fit

        def residuals(parameters: Parameters) -> Tensor:
            decoded = decode(flame, parameters, lens=pinholes)
            by_flow = (own.carried_over(decoded.projected) - own.target) / fit.flow_noise
            by_landmarks = landmark_residuals(decoded, points, parameters, fit.noise)
            return torch.cat([by_landmarks, _forgiving(by_flow).flatten()])

        return residuals


def _forgiving(missed: Tensor) -> Tensor:
    """Residuals [K, 2] whose squares grow like those of `missed` near zero, and linearly where the flow is wrong."""
    return missed * (2 / (1 + (1 + missed.square().sum(1, keepdim=True)).sqrt())).sqrt()


def _every_pair(parameters: Parameters, pixels: Tensor, landmarks: Tensor) -> tuple[TripletBatch, ViewPairs]:
    """The views with MB of all ordered pairs of each person's, and those pairs."""
    people, views = pixels.shape[:2]
    turned = rotation_from_axis_angle(parameters.rotation.detach().flatten(0, 1))
    yaw = torch.rad2deg(torch.atan2(-turned[:, 2, 0], turned[:, :2, 0].norm(dim=-1))).view(people, views).cpu().numpy()
    points = landmarks.cpu().numpy()
    ordered = [(a, b) for a in range(views) for b in range(views) if a != b]
    masks = [
        [landmark_mask(points[person, b], yaw[person, a], yaw[person, b], pixels.shape[-1]) for a, b in ordered]
        for person in range(people)
    ]
    among = torch.from_numpy(np.array(masks))[:, :, None].to(pixels)
    pairs = [(person, place, a, b) for person in range(people) for place, (a, b) in enumerate(ordered)]
    chosen = torch.tensor(pairs, device=pixels.device).unbind(1)
    return TripletBatch(pixels, landmarks, among, among, None), ViewPairs(*chosen)


def _matches(found: Correspondences, pairs: ViewPairs, projected: Tensor, faces: Tensor) -> Matches:
    """Every `_STRIDE`-th pixel of the correspondences that can be relied on, of heads projected [B * N, V, 3]."""
    offset, n_views = _STRIDE // 2, len(projected) // (int(pairs.person.max()) + 1)
    source, target, mask = (part[..., offset::_STRIDE, offset::_STRIDE] for part in found[:3])
    triangle = found.triangle[..., offset::_STRIDE, offset::_STRIDE]
    pair, row, column = ((mask[:, 0] > 0) & (triangle >= 0)).nonzero().unbind(1)
    view_a, view_b = ((pairs.person * n_views + view)[pair] for view in (pairs.view_a, pairs.view_b))
    corners = faces[triangle[pair, row, column]]
    matches = Matches(view_a, view_b, corners, source[pair, :, row, column], target[pair, :, row, column])
    # The triangle is that of the pixel's centre; seen from the side it says nothing of a place beside it.
    weights = screen_barycentric(projected[view_a[:, None], corners, :2], matches.source)
    kept = ((weights > -_BESIDE) & (weights < 1 + _BESIDE)).all(1)
    return Matches(*(part[kept] for part in matches))
