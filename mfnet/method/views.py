"""Which views of whom are compared, and with what: shared by training, guided flow and refinement."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mfnet.data.batches import TripletBatch
from mfnet.data.pairs import PAIR_VIEWS, PairEvidence
from mfnet.head import Directions, Flame, HeadModel
from mfnet.method.network import Parameters
from mfnet.render import Renderer
from mfnet.render.camera import Lens


class Decoder(NamedTuple):
    """A head model's vertices and what draws them."""

    flame: Flame
    renderer: Renderer

    @staticmethod
    def of(head: HeadModel, directions: Directions, image_size: int, texture_size: int) -> Decoder:
        """The decoder of a head model, its pictures image_size and its textures texture_size pixels a side."""
        flame = Flame(head, directions.n_shape, directions.n_expression)
        return Decoder(flame, Renderer(head, image_size, texture_size, directions.n_albedo))

    def to(self, device: torch.device) -> Decoder:
        """The same on a device."""
        return Decoder(self.flame.to(device), self.renderer.to(device))


class Scene(NamedTuple):
    """B people in N photographs each, and the heads that are to explain them.

    parameters: of the heads.
    photographs: [B, N, 3, S, S] in [0, 1].
    lens: of the B * N unrolled views where the focal lengths are known; None in scaled orthography.
    """

    parameters: Parameters
    photographs: Tensor
    lens: Lens | None = None


class ViewPairs(NamedTuple):
    """M ordered pairs (a, b) of one person's views each.

    view_a, view_b: [M] int64 into the B * N unrolled views.
    evidence: what the photographs say of them beforehand, [M, ...]; equation 5 uses what consistency it has.
    """

    view_a: Tensor
    view_b: Tensor
    evidence: PairEvidence

    @staticmethod
    def of_batch(batch: TripletBatch, selection: Tensor, consistency: bool) -> ViewPairs:
        """Selected pairs of a batch of triplets.

        Args:
            batch: the triplets.
            selection: [M, 2] triplet and index into `mfnet.data.pairs.PAIRS`.
            consistency: whether only consistent flow is to be trusted.
        """
        triplet, pair = selection.unbind(1)
        n_views = batch.images.shape[1]
        view_a, view_b = torch.tensor(PAIR_VIEWS, device=pair.device)[pair].unbind(1)
        assert batch.pairs is not None
        evidence = batch.pairs.at((triplet, pair))
        if not consistency:
            evidence = evidence._replace(consistency=None)
        return ViewPairs(triplet * n_views + view_a, triplet * n_views + view_b, evidence)

    @staticmethod
    def of_views(places: list[tuple[int, int]], landmark_masks: Tensor, n_views: int) -> ViewPairs:
        """The same pairs of every person's N views.

        Args:
            places: P pairs (a, b) among the N views.
            landmark_masks: [B, P, 1, h, w], of `mfnet.method.covisible.pair_landmark_masks`.
            n_views: N.
        """
        people = torch.arange(len(landmark_masks), device=landmark_masks.device)[:, None] * n_views
        view_a, view_b = torch.tensor(places, device=landmark_masks.device).unbind(1)
        evidence = PairEvidence(landmark_masks.flatten(0, 1), None, None)
        return ViewPairs((people + view_a).flatten(), (people + view_b).flatten(), evidence)


class RenderedPairs(NamedTuple):
    """M ordered pairs (a, b): photograph I_b and render I_{a->b} [M, 3, H, W], mask MC_{a,b} [M, 1, H, W]."""

    photograph: Tensor
    rendered: Tensor
    mask: Tensor


class ProjectedPairs(NamedTuple):
    """M ordered pairs (a, b), over the pixels of b or the h x w squares of them that flow is stored for.

    projected: [M, 2, h, w], where the head has a piece of skin.
    target: [M, 2, h, w], where flow has it; both in the same view's [-1, 1].
    mask: [M, 1, h, w], MC_{a,b} where the two can be compared.
    """

    projected: Tensor
    target: Tensor
    mask: Tensor


class Correspondences(NamedTuple):
    """What the flow of M pairs says, over b's pixels.

    source: [M, 2, H, W] in a, and target: [M, 2, H, W] in b, both in [-1, 1], show the same skin.
    mask: [M, 1, H, W], MC where that can be relied on.
    triangle: [M, H, W] int64, what the head shows at source, -1 where that is nothing.
    """

    source: Tensor
    target: Tensor
    mask: Tensor
    triangle: Tensor
