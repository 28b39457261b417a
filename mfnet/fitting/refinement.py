"""Refinement of a reconstruction: parameters optimised against landmarks, points and the flow between photographs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from mfnet.config import FitParams
from mfnet.fitting.landmark_fit import LandmarkFit, Residuals, landmark_residuals, person_of, solve
from mfnet.flow import FlowEstimator
from mfnet.head import Directions, Flame, HeadModel, rotation_from_axis_angle, yaw_degrees
from mfnet.method.covisible import pair_landmark_masks
from mfnet.method.multiview import correspondences
from mfnet.method.network import Parameters, decode
from mfnet.method.start import DensePoints
from mfnet.method.views import Correspondences, Decoder, Scene, ViewPairs
from mfnet.render.camera import Lens
from mfnet.render.rasterize import screen_barycentric

# Every so many pixels a correspondence is used: those of neighbours err alike.
_STRIDE = 8
# How far from a triangle a place may lie, in its barycentric coordinates.
_BESIDE = 1.0


class SkinMatches(NamedTuple):
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

    def of_person(self, person: int, n_views: int) -> SkinMatches:
        """Those of one person, views counted from that person's first; double precision, on the CPU."""
        kept = self.view_a // n_views == person
        view_a, view_b, corners, source, target = (part[kept].cpu() for part in self)
        return SkinMatches(view_a % n_views, view_b % n_views, corners, source.double(), target.double())


class _Evidence(NamedTuple):
    """What B people's N photographs say: landmarks [B, N, 68, 2] in [-1, 1] and, where known, pinholes of the unrolled
    views, points of the head, and matches."""

    landmarks: Tensor
    lens: Lens | None
    points: DensePoints | None
    matches: SkinMatches | None = None


class Refinement:
    """Parameters optimised from where a network or a fit left them: by landmarks and points, then also by flow.

    The landmark fit's energy gains two terms: how far points of the head are from where a network sees them; and, for
    every piece of skin that two photographs show, by flow from one to the render of the other, how far the head is from
    putting it where it is seen. Flow is measured anew in every round, from renders that then lie nearer. One photograph
    has no flow.
    """

    def __init__(
        self, head: HeadModel, directions: Directions, fit: FitParams, image_size: int, estimator: FlowEstimator,
        workers: int | None = 1, find_points: Callable[[Tensor], DensePoints] | None = None,
    ) -> None:  # fmt: skip
        """Refine with a head model.

        Args:
            head: the head model.
            directions: how many of the head's.
            fit: the noise, the iterations and the rounds.
            image_size: of the photographs' squares.
            estimator: of the flow.
            workers: processes, each for a person; None is one per core.
            find_points: gives the points of the head in photographs [B, N, 3, S, S]; None where no network knows them.
        """
        self._decoder = Decoder.of(head, directions, image_size, image_size)
        self._exact = Flame(head, directions.n_shape, directions.n_expression).double()
        self._by_landmarks = LandmarkFit(head, directions, fit, workers)
        self._estimator, self._fit, self._workers = estimator, fit, workers
        self._find_points = find_points

    def __call__(self, start: Parameters, pixels: Tensor, landmarks: Tensor, lens: Lens | None = None) -> Parameters:
        """Refine B people, each in N views.

        Args:
            start: their parameters; albedo and light stay as they are.
            pixels: [B, N, 3, S, S] in [0, 1].
            landmarks: [B, N, 68, 2] in [-1, 1].
            lens: of the unrolled views, where the focal lengths are known.
        """
        points = None if self._find_points is None else self._find_points(pixels)
        evidence = _Evidence(landmarks, lens, points)
        parameters = self._solved(self._by_landmarks.nearest_start(start, landmarks, lens), evidence)
        if pixels.shape[1] == 1 or not self._fit.rounds:
            return parameters
        decoder, pairs = self._decoder.to(pixels.device), _every_pair(parameters, landmarks, pixels.shape[-1])
        for _ in range(self._fit.rounds):
            measured = correspondences(decoder, Scene(parameters, pixels, lens), pairs, self._estimator)
            projected = decode(decoder.flame, parameters, lens=lens).projected
            matches = _matches(measured, pairs, projected, decoder.renderer.faces)
            parameters = self._solved(parameters, evidence._replace(matches=matches))
        return parameters

    def _solved(self, start: Parameters, evidence: _Evidence) -> Parameters:
        return solve(start, partial(self._residuals, evidence), self._fit.iterations, self._workers)

    def _residuals(self, evidence: _Evidence, person: int) -> Residuals:
        landmarks, pinholes = person_of(evidence.landmarks, evidence.lens, person)
        matches = None if evidence.matches is None else evidence.matches.of_person(person, landmarks.shape[1])
        points = None if evidence.points is None else _of_person(evidence.points, person)
        needed = [torch.zeros(0, dtype=torch.int64)]
        needed += [] if matches is None else [matches.corners.flatten()]
        needed += [] if points is None else [points.vertices]
        flame, place = self._exact.only(torch.cat(needed))
        fit = self._fit

        def residuals(parameters: Parameters) -> Tensor:
            decoded = decode(flame, parameters, lens=pinholes)
            missed = [landmark_residuals(decoded, landmarks, parameters, fit.noise)]
            if points is not None and fit.point_noise is not None:
                off = decoded.projected[:, place[points.vertices], :2] - points.places[0]
                missed.append(_forgiving((off / (fit.point_noise * points.spread[0][..., None])).flatten(0, 1)))
            if matches is not None:
                placed = matches._replace(corners=place[matches.corners])
                missed.append(_forgiving((placed.carried_over(decoded.projected) - matches.target) / fit.flow_noise))
            return torch.cat([part.flatten() for part in missed])

        return residuals


def _of_person(points: DensePoints, person: int) -> DensePoints:
    """One person's points, a batch of one, in double precision on the CPU."""
    places, spread = (part[person : person + 1].detach().cpu().double() for part in (points.places, points.spread))
    return DensePoints(points.vertices.cpu(), places, spread)


def _forgiving(missed: Tensor) -> Tensor:
    """Residuals [K, 2] whose squares grow like those of `missed` near zero, and linearly far from it."""
    return missed * (2 / (1 + (1 + missed.square().sum(1, keepdim=True)).sqrt())).sqrt()


def _every_pair(parameters: Parameters, landmarks: Tensor, size: int) -> ViewPairs:
    """All ordered pairs of each person's views, with MB of size x size pixels."""
    people, views = landmarks.shape[:2]
    yaws = yaw_degrees(rotation_from_axis_angle(parameters.rotation.detach().flatten(0, 1))).view(people, views)
    places = [(a, b) for a in range(views) for b in range(views) if a != b]
    return ViewPairs.of_views(places, pair_landmark_masks(landmarks, yaws, places, size), views)


def _matches(measured: Correspondences, pairs: ViewPairs, projected: Tensor, faces: Tensor) -> SkinMatches:
    """Every `_STRIDE`-th pixel of the correspondences that can be relied on, of heads projected [B * N, V, 3]."""
    kept = slice(_STRIDE // 2, None, _STRIDE)
    source, target, mask, triangle = (part[..., kept, kept] for part in measured)
    pair, row, column = ((mask[:, 0] > 0) & (triangle >= 0)).nonzero().unbind(1)
    corners = faces[triangle[pair, row, column]]
    view_a, view_b = pairs.view_a[pair], pairs.view_b[pair]
    matches = SkinMatches(view_a, view_b, corners, source[pair, :, row, column], target[pair, :, row, column])
    # The triangle is that of the pixel's centre; from the side it says nothing of a place beside it.
    weights = screen_barycentric(projected[view_a[:, None], corners, :2], matches.source)
    near = ((weights > -_BESIDE) & (weights < 1 + _BESIDE)).all(1)
    return SkinMatches(*(part[near] for part in matches))
