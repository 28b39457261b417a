"""Skin that one view shows, projected into another by the head model."""

import pytest
import torch
from torch.nn.functional import grid_sample

from mfnet.data.batches import TripletBatch
from mfnet.data.pairs import PAIR_VIEWS, PairEvidence
from mfnet.flow import FlowEstimator
from mfnet.head import Directions, HeadModel
from mfnet.method.losses import multiview_projection
from mfnet.method.multiview import measured_pairs, project_pairs
from mfnet.method.network import Parameters, decode, mean_parameters
from mfnet.method.views import Decoder, ProjectedPairs, Scene, ViewPairs

INNER_FACE = torch.arange(28, 36)
PAIRS = torch.tensor([[0, 0], [0, 1], [1, 2], [1, 3]])


def someone() -> Parameters:
    generator = torch.Generator().manual_seed(3)
    start = mean_parameters(2, 3, Directions(n_albedo=1))
    rotation = torch.zeros(2, 3, 3)
    rotation[:, 1, 1], rotation[:, 2, 1] = -0.4, 0.4
    return start._replace(
        shape=torch.randn(2, 100, generator=generator),
        rotation=rotation,
        camera=0.05 * torch.randn(2, 3, 3, generator=generator),
    )


PHOTOGRAPHS = torch.zeros(2, 3, 3, 128, 128)


def pairs(targets: torch.Tensor, selection: torch.Tensor = PAIRS, consistent: bool = True) -> ViewPairs:
    ones = torch.ones(2, 4, 1, 32, 32)
    evidence = PairEvidence(ones, ones if consistent else torch.zeros_like(ones), targets)
    return ViewPairs.of_batch(TripletBatch(PHOTOGRAPHS, torch.zeros(2, 3, 68, 2), evidence), selection, True)


def loss_of(projected: ProjectedPairs) -> torch.Tensor:
    return multiview_projection(projected.projected, projected.target, projected.mask)


NO_FLOW = torch.zeros(2, 4, 2, 32, 32)


@pytest.fixture(scope="module")
def decoder(head: HeadModel) -> Decoder:
    return Decoder.of(head, Directions(n_albedo=1), 128, 32)


def test_landmarks_go_where_the_other_view_has_them(decoder: Decoder) -> None:
    """The map sampled at a landmark of view b is that landmark in view a, to half a pixel."""
    parameters = someone()
    landmarks = decode(decoder.flame, parameters).landmarks[..., :2].unflatten(0, (2, 3))
    projected, _, mask = project_pairs(decoder, Scene(parameters, PHOTOGRAPHS), pairs(NO_FLOW))
    for k, (triplet, pair) in enumerate(PAIRS.tolist()):
        a, b = PAIR_VIEWS[pair]
        place = landmarks[triplet, b, INNER_FACE][None, None]
        found = grid_sample(projected[k : k + 1], place, align_corners=False)[0, :, 0].T
        within = grid_sample(mask[k : k + 1], place, align_corners=False)[0, 0, 0] > 0.999
        assert within.sum() >= 3
        miss = (found - landmarks[triplet, a, INNER_FACE]).norm(dim=-1)[within]
        # A square is four pixels wide and the nose is not flat.
        assert miss.median() < 2 / 128
        assert miss.max() < 6 / 128


def test_the_truth_has_no_loss_and_descending_leads_back_to_it(decoder: Decoder) -> None:
    true = someone()
    targets, scene = NO_FLOW.clone(), Scene(true, PHOTOGRAPHS)
    targets[PAIRS[:, 0], PAIRS[:, 1]] = project_pairs(decoder, scene, pairs(targets)).projected
    assert loss_of(project_pairs(decoder, scene, pairs(targets))) == 0
    offset = torch.zeros_like(true.rotation)
    offset[:, 1:, 1] = 0.05
    rotation = (true.rotation + offset).requires_grad_()
    moved = Scene(true._replace(rotation=rotation), PHOTOGRAPHS)
    loss = loss_of(project_pairs(decoder, moved, pairs(targets)))
    loss.backward()
    assert loss > 0
    assert rotation.grad is not None
    assert (rotation.grad * offset).sum() > 0


def test_flow_that_disagrees_is_left_out(decoder: Decoder) -> None:
    scene = Scene(someone(), PHOTOGRAPHS)
    assert project_pairs(decoder, scene, pairs(NO_FLOW)).mask.mean() > 0.1
    assert project_pairs(decoder, scene, pairs(NO_FLOW, consistent=False)).mask.sum() == 0


class Shifted(FlowEstimator):
    """Everything has moved by so many pixels."""

    def __init__(self, x: float, y: float) -> None:
        super().__init__()
        self._flow = torch.tensor([x, y])

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self._flow[:, None, None].expand(len(first), -1, *first.shape[-2:])


def test_measured_flow_is_its_own_length_and_moves_the_head_against_it(decoder: Decoder) -> None:
    """What the render has three pixels too far to the right is to move to the left."""
    parameters = someone()
    camera = parameters.camera.clone().requires_grad_()
    scene = Scene(parameters._replace(camera=camera), PHOTOGRAPHS)
    measured = measured_pairs(decoder, scene, pairs(NO_FLOW, PAIRS[:1]), Shifted(3.0, 0.0))
    assert measured.mask.mean() > 0.1
    loss = loss_of(measured)
    assert loss.item() == pytest.approx(6 / 128, rel=0.1)
    (gradient,) = torch.autograd.grad(loss, camera)
    # By the first pair: of the left view the camera, of the front, whose photograph was the source, the other way.
    assert gradient[0, 1, 1] > 0
    assert gradient[0, 0, 1] < 0
