"""What one view of a triplet shows of another: what the two forms of equation 6 compare."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from mfnet.covisible import covisible_mask
from mfnet.data.batches import TripletBatch
from mfnet.data.triplets import VIEWS
from mfnet.flow.store import PAIRS
from mfnet.head import Flame
from mfnet.network import Parameters, decode
from mfnet.render import Renderer, View, interpolate
from mfnet.render.texture import fill_unseen

_PAIR_VIEWS = torch.tensor([[VIEWS.index(a), VIEWS.index(b)] for a, b in PAIRS])
_WHOLE = 0.999


class RenderedPairs(NamedTuple):
    """M ordered pairs (a, b): photograph I_b and render I_{a->b} [M, 3, H, W], mask MC_{a,b} [M, 1, H, W]."""

    photograph: Tensor
    rendered: Tensor
    mask: Tensor


class ProjectedPairs(NamedTuple):
    """M ordered pairs (a, b), over the h x w squares of b that flow is stored for.

    projected [M, 2, h, w]: where the head says that the skin seen there is in a; target [M, 2, h, w]: where the
    precomputed flow says so; both in a's [-1, 1]. mask [M, 1, h, w]: MC_{a,b} where the flow agrees both ways.
    """

    projected: Tensor
    target: Tensor
    mask: Tensor


class _Pairs(NamedTuple):
    triplet: Tensor
    pair: Tensor
    view_a: Tensor
    view_b: Tensor


def _unpacked(pairs: Tensor) -> _Pairs:
    triplet, pair = pairs.unbind(1)
    return _Pairs(triplet, pair, *_PAIR_VIEWS.to(pairs.device)[pair].unbind(1))


def _decoded(flame: Flame, parameters: Parameters, chosen: _Pairs) -> tuple[tuple[Tensor, Tensor], ...]:
    """Vertices and projected vertices of the heads in a, and of those in b."""
    n_views = parameters.rotation.shape[1]
    unrolled = torch.cat([chosen.triplet * n_views + view for view in (chosen.view_a, chosen.view_b)])
    decoded = decode(flame, parameters, unrolled)
    return tuple(zip(decoded.vertices.chunk(2), decoded.projected.chunk(2), strict=True))


def render_pairs(
    flame: Flame, renderer: Renderer, parameters: Parameters, batch: TripletBatch, pairs: Tensor, consistency: bool
) -> RenderedPairs:
    """Equations 3 to 5 for chosen pairs: sample the texture of view a, render it in view b, mask.

    Args:
        flame, renderer: of the head model.
        parameters: predicted for the batch.
        batch: the triplets.
        pairs: [M, 2] triplet and index into `PAIRS`.
        consistency: whether the mask also asks for forward-backward consistent flow.
    """
    chosen = _unpacked(pairs)
    seen_a, seen_b = (renderer.view(*head) for head in _decoded(flame, parameters, chosen))
    texture, weight = renderer.extract(batch.images[chosen.triplet, chosen.view_a], seen_a)
    albedo = renderer.albedo(parameters.albedo[chosen.triplet, chosen.view_b])
    shaded = renderer.shaded_texture(seen_b.normals, albedo, parameters.light[chosen.triplet, chosen.view_b])
    rendered = renderer.render(fill_unseen(texture, weight, shaded.clamp(0, 1)), seen_b)
    mask = covisible_mask(
        batch.landmark_masks[chosen.triplet, chosen.pair],
        renderer.face_mask(seen_b),
        batch.consistency[chosen.triplet, chosen.pair] if consistency else None,
    )
    return RenderedPairs(batch.images[chosen.triplet, chosen.view_b], rendered, mask)


def project_pairs(
    flame: Flame, renderer: Renderer, parameters: Parameters, batch: TripletBatch, pairs: Tensor
) -> ProjectedPairs:
    """The skin that view b shows, projected into view a; arguments are those of `render_pairs`.

    Differentiable in the heads of both views: a point is held by b's pixel, not by its place on the surface.
    """
    assert batch.targets is not None, "the precomputed form needs a flow store with flow"
    chosen = _unpacked(pairs)
    (_, projected_a), head_b = _decoded(flame, parameters, chosen)
    seen_b = renderer.view(*head_b)
    target = batch.targets[chosen.triplet, chosen.pair]
    stride = seen_b.fragments.pix_to_face.shape[-1] // target.shape[-1]
    only_face = avg_pool2d(renderer.face_mask(seen_b), stride) > _WHOLE
    mask = covisible_mask(
        batch.landmark_masks[chosen.triplet, chosen.pair],
        only_face.to(target.dtype),
        batch.consistency[chosen.triplet, chosen.pair],
    )
    return ProjectedPairs(avg_pool2d(_seen_elsewhere(renderer, seen_b, projected_a), stride), target, mask)


def _seen_elsewhere(renderer: Renderer, seen: View, projected: Tensor) -> Tensor:
    """Where the surface that each pixel shows lies in another camera, [B, 2, H, W], from its vertices [B, V, 3]."""
    corners = projected[:, renderer.faces.flatten(), :2].unflatten(1, (-1, 3))
    return interpolate(seen.fragments, corners).permute(0, 3, 1, 2)
