"""The network, the losses and the pairs of views over devices and precisions."""

from collections.abc import Callable

import torch

from mfnet.data.pairs import PairEvidence
from mfnet.head import Directions, HeadModel
from mfnet.method import losses
from mfnet.method.covisible import covisible_mask, pair_landmark_masks
from mfnet.method.multiview import project_pairs
from mfnet.method.network import MFNet, Parameters, decode, mean_parameters
from mfnet.method.views import Decoder, Scene, ViewPairs

DIRECTIONS = Directions(4, 3, 2)


def test_the_network(same_everywhere: Callable[..., None]) -> None:
    torch.manual_seed(0)
    network = MFNet("compact", 16, DIRECTIONS).eval()

    def predict(images: torch.Tensor) -> Parameters:
        return network.to(images.device, images.dtype)(images)

    with torch.no_grad():
        same_everywhere(predict, torch.rand(2, 3, 3, 64, 64), tolerance=1e-3)


def test_the_losses(same_everywhere: Callable[..., None]) -> None:
    detected, projected = torch.rand(3, 68, 2), torch.rand(3, 68, 2)
    for loss in (losses.single_view_keypoint, losses.eye_keypoint, losses.lip_keypoint):
        same_everywhere(loss, detected, projected)
    same_everywhere(losses.regularisation, torch.randn(2, 5), torch.randn(2, 4), torch.randn(2, 3, 2))
    same_everywhere(losses.multiview_projection, torch.rand(2, 2, 8, 8), torch.rand(2, 2, 8, 8), torch.ones(2, 1, 8, 8))


def test_masks(same_everywhere: Callable[..., None]) -> None:
    same_everywhere(covisible_mask, torch.ones(2, 1, 8, 8), torch.ones(2, 1, 16, 16), torch.ones(2, 1, 8, 8))
    masks = pair_landmark_masks(torch.rand(2, 3, 68, 2) * 2 - 1, torch.zeros(2, 3), [(0, 1), (2, 0)], 16)
    assert masks.shape == (2, 2, 1, 16, 16)


def test_pairs_of_views(head: HeadModel, same_everywhere: Callable[..., None]) -> None:
    decoder = Decoder.of(head, DIRECTIONS, 32, 32)
    drawn = [part + 0.1 * torch.randn_like(part) for part in mean_parameters(1, 2, DIRECTIONS)]

    def project(*parts: torch.Tensor) -> torch.Tensor:
        place = parts[0]
        ours = Decoder(*(module.to(place.device, place.dtype) for module in decoder))
        masks = torch.ones(1, 1, 8, 8, device=place.device, dtype=place.dtype)
        evidence = PairEvidence(masks, masks, masks.expand(-1, 2, -1, -1) * 0)
        first, second = (torch.tensor([k], device=place.device) for k in (0, 1))
        scene = Scene(Parameters(*parts), torch.zeros(1, 2, 3, 32, 32, device=place.device, dtype=place.dtype))
        pairs = project_pairs(ours, scene, ViewPairs(first, second, evidence))
        return (pairs.projected * pairs.mask).mean()

    same_everywhere(project, *drawn, tolerance=1e-2)
    same_everywhere(lambda *parts: decode(decoder.flame.to(parts[0]), Parameters(*parts)), *drawn, tolerance=1e-3)
