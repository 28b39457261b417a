"""Refinement on photographs whose geometry is known: the renderer's own."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from mfnet.config import FitParams
from mfnet.fitting.landmark_fit import LandmarkFit
from mfnet.fitting.refinement import Refinement, SkinMatches, _matches
from mfnet.flow import FlowEstimator, load_flow_estimator
from mfnet.head import Directions, Flame, HeadModel
from mfnet.method.multiview import correspondences
from mfnet.method.network import Parameters, decode, mean_parameters
from mfnet.method.start import DensePoints
from mfnet.method.views import Decoder, Scene, ViewPairs
from mfnet.render import Renderer
from mfnet.render.camera import Lens

SIZE = 128
DIRECTIONS = Directions(n_albedo=1)


class Sitting(NamedTuple):
    """Two people from three views in front of pinholes: who they are and what is seen of them."""

    true: Parameters
    pixels: torch.Tensor
    landmarks: torch.Tensor
    lens: Lens


@pytest.fixture(scope="module")
def sitting(head: HeadModel) -> Sitting:
    draw = torch.Generator().manual_seed(5)
    start = mean_parameters(2, 3, DIRECTIONS)
    true = start._replace(
        shape=torch.randn(2, 100, generator=draw).clamp(-2, 2),
        rotation=0.05 * torch.randn(2, 3, 3, generator=draw) + torch.tensor([[0.0, y, 0] for y in (0, -0.45, 0.45)]),
        camera=0.03 * torch.randn(2, 3, 3, generator=draw),
    )
    lens = Lens(torch.tensor([6.0, 6, 6, 4, 4, 4]), 0.1 * torch.randn(6, 2, generator=draw))
    renderer = Renderer(head, SIZE, 256, n_albedo=40)
    decoded = decode(Flame(head), true, lens=lens)
    view = renderer.view(decoded.vertices, decoded.projected, lens.toward(decoded.projected, decoded.camera[:, :1]))
    skin = renderer.albedo(torch.randn(2, 40, generator=draw).clamp(-2, 2)).repeat_interleave(3, 0)
    # Freckles, by which flow finds its way: the albedo's directions have none.
    freckles = interpolate(torch.randn(2, 1, 64, 64, generator=draw), size=(256, 256), mode="bicubic")
    skin = skin * (1 + 0.2 * freckles.repeat_interleave(3, 0))
    pixels = renderer.render(skin, view).clamp(0, 1).unflatten(0, (2, 3))
    return Sitting(true, pixels, decoded.landmarks[..., :2].view(2, 3, 68, 2), lens)


class Still(FlowEstimator):
    """Nothing has moved."""

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first.new_zeros(len(first), 2, *first.shape[-2:])


def matches_of_the_truth(head: HeadModel, sitting: Sitting) -> SkinMatches:
    pairs = ViewPairs.of_views([(0, 1), (2, 0)], torch.ones(2, 2, 1, SIZE, SIZE), 3)
    decoder = Decoder.of(head, DIRECTIONS, SIZE, SIZE)
    measured = correspondences(decoder, Scene(sitting.true, sitting.pixels, sitting.lens), pairs, Still())
    projected = decode(decoder.flame, sitting.true, lens=sitting.lens).projected
    return _matches(measured, pairs, projected, decoder.renderer.faces)


def test_where_nothing_moved_the_true_head_carries_skin_to_where_it_is(head: HeadModel, sitting: Sitting) -> None:
    matches = matches_of_the_truth(head, sitting)
    assert len(matches.source) > 300
    carried = matches.carried_over(decode(Flame(head), sitting.true, lens=sitting.lens).projected)
    missed = (carried - matches.target).norm(dim=1) * SIZE / 2
    assert missed.median() < 0.1
    # The triangle is that of the pixel's centre, a neighbour of the one at the place itself.
    assert missed.quantile(0.95) < 1


def test_a_turned_head_carries_skin_elsewhere_and_its_gradient_turns_it_back(head: HeadModel, sitting: Sitting) -> None:
    matches = matches_of_the_truth(head, sitting)
    offset = torch.zeros_like(sitting.true.rotation)
    offset[:, 0, 1] = 0.05
    rotation = (sitting.true.rotation + offset).requires_grad_()
    projected = decode(Flame(head), sitting.true._replace(rotation=rotation), lens=sitting.lens).projected
    missed = (matches.carried_over(projected) - matches.target).square().sum(1)
    # What is seen almost edge-on says nothing of a turn, loudly.
    missed[missed.detach() < 0.02].sum().backward()
    assert rotation.grad is not None
    assert (rotation.grad[:, 0, 1] > 0).all()


def test_flow_takes_refinement_nearer_than_landmarks_that_are_off(head: HeadModel, sitting: Sitting) -> None:
    """Landmarks two pixels off: with the flow between the photographs the face comes out better."""
    noise = 0.03
    fit = FitParams(noise=noise, rounds=2)
    off = sitting.landmarks + noise * torch.randn(sitting.landmarks.shape, generator=torch.Generator().manual_seed(1))
    start = LandmarkFit(head, DIRECTIONS, fit)(off, sitting.lens)
    refine = Refinement(head, DIRECTIONS, fit, SIZE, load_flow_estimator("dis"))
    refined = refine(start, sitting.pixels, off, sitting.lens)

    flame, face = Flame(head), head.regions["face"]

    def error(parameters: Parameters) -> torch.Tensor:
        """Of the face in the camera's frame, metres, but for its place along the view."""
        camera = []
        for compared in (parameters, sitting.true):
            decoded = decode(flame, compared, lens=sitting.lens)
            points = sitting.lens.unproject(decoded.projected, decoded.camera[:, :1])[:, face]
            camera.append(points - points.mean(1, keepdim=True))
        return (camera[0] - camera[1]).norm(dim=-1).view(2, -1).mean(1)

    assert error(refined).mean() < 0.9 * error(start).mean()
    torch.testing.assert_close(refined.albedo, start.albedo)


def test_points_take_refinement_nearer_and_one_that_is_far_off_does_not_matter(
    head: HeadModel, sitting: Sitting
) -> None:
    vertices = torch.from_numpy(np.flatnonzero(head.regions["face"])[::10].copy())
    true_places = decode(Flame(head), sitting.true, lens=sitting.lens).projected[:, vertices, :2].unflatten(0, (2, 3))
    places = true_places.clone()
    places[:, :, 0] += 1.0
    points = DensePoints(vertices, places, torch.full(places.shape[:-1], 0.004))
    off = sitting.landmarks + 0.03 * torch.randn(sitting.landmarks.shape, generator=torch.Generator().manual_seed(1))
    start = LandmarkFit(head, DIRECTIONS, FitParams())(off, sitting.lens)
    refine = Refinement(
        head, DIRECTIONS, FitParams(), SIZE, load_flow_estimator("dis"), find_points=lambda pixels: points
    )
    refined = refine(start, sitting.pixels, off, sitting.lens)

    def missed(parameters: Parameters) -> torch.Tensor:
        projected = decode(Flame(head), parameters, lens=sitting.lens).projected[:, vertices, :2]
        return (projected.view_as(true_places) - true_places).norm(dim=-1).mean()

    assert missed(refined) < 0.4 * missed(start)
    without = Refinement(head, DIRECTIONS, FitParams(point_noise=None), SIZE, load_flow_estimator("dis"))(
        start, sitting.pixels, off, sitting.lens
    )
    assert missed(refined) < 0.4 * missed(without)


def test_several_processes_refine_to_the_same_bits(head: HeadModel, sitting: Sitting) -> None:
    fit, start = FitParams(iterations=4, rounds=1), mean_parameters(2, 3, DIRECTIONS)
    one, two = (
        Refinement(head, DIRECTIONS, fit, SIZE, load_flow_estimator("dis"), workers)(
            start, sitting.pixels, sitting.landmarks, sitting.lens
        )
        for workers in (1, 2)
    )
    for first, second in zip(one, two, strict=True):
        assert torch.equal(first, second)


def test_one_photograph_has_its_landmarks_alone(head: HeadModel, sitting: Sitting) -> None:
    refine = Refinement(head, DIRECTIONS, FitParams(iterations=5), SIZE, load_flow_estimator("dis"))
    one = mean_parameters(2, 1, DIRECTIONS)
    refined = refine(one, sitting.pixels[:, :1], sitting.landmarks[:, :1])
    fit = LandmarkFit(head, DIRECTIONS, FitParams(iterations=5))
    expected = fit.refine(fit.nearest_start(one, sitting.landmarks[:, :1]), sitting.landmarks[:, :1])
    for name in ("shape", "rotation", "camera"):
        torch.testing.assert_close(getattr(refined, name), getattr(expected, name))


def test_an_answer_turned_to_the_wrong_side_does_not_end_as_a_monster(head: HeadModel) -> None:
    true = mean_parameters(1, 2, DIRECTIONS)
    shape = torch.randn(1, 100, generator=torch.Generator().manual_seed(2)).clamp(-2, 2)
    true = true._replace(shape=shape, rotation=torch.tensor([[[0.0, 1.2, 0.0], [0.0, 0.1, 0.0]]]))
    landmarks = decode(Flame(head), true).landmarks[None, ..., :2]
    wrong = true._replace(rotation=torch.tensor([[[0.0, -1.0, 0.0], [0.0, 0.11, 0.0]]]))
    fit = LandmarkFit(head, DIRECTIONS, FitParams())
    nearest = fit.nearest_start(wrong, landmarks)
    # The second view was right, and stays as it was.
    torch.testing.assert_close(nearest.rotation[:, 1], wrong.rotation[:, 1])
    refined = Refinement(head, DIRECTIONS, FitParams(rounds=2), SIZE, Still())(
        wrong, torch.zeros(1, 2, 3, SIZE, SIZE), landmarks
    )
    torch.testing.assert_close(refined.rotation, true.rotation, atol=0.05, rtol=0)
    assert refined.shape.abs().max() < 2.5
