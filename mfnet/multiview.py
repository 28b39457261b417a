"""What one view of a triplet shows of another: what the forms of equation 6 compare."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from mfnet.covisible import covisible_mask
from mfnet.data.batches import TripletBatch
from mfnet.data.triplets import VIEWS
from mfnet.flow import FlowEstimator
from mfnet.flow.store import PAIRS
from mfnet.head import Flame
from mfnet.network import Parameters, decode
from mfnet.render import Renderer, View, interpolate
from mfnet.render.camera import Lens
from mfnet.render.rasterize import Fragments, pixel_centres
from mfnet.render.texture import fill_unseen

_PAIR_VIEWS = torch.tensor([[VIEWS.index(a), VIEWS.index(b)] for a, b in PAIRS])
_WHOLE = 0.999
_RETURNED_PIXELS = 2.0


class RenderedPairs(NamedTuple):
    """M ordered pairs (a, b): photograph I_b and render I_{a->b} [M, 3, H, W], mask MC_{a,b} [M, 1, H, W]."""

    photograph: Tensor
    rendered: Tensor
    mask: Tensor


class ProjectedPairs(NamedTuple):
    """M ordered pairs (a, b), over the pixels of b or the h x w squares of them that flow is stored for.

    projected [M, 2, h, w]: where the head has a piece of skin; target [M, 2, h, w]: where flow has it; both in the same
    view's [-1, 1]. mask [M, 1, h, w]: MC_{a,b} where the two can be compared.
    """

    projected: Tensor
    target: Tensor
    mask: Tensor


class ViewPairs(NamedTuple):
    """M ordered pairs (a, b) of a person's views, all [M] int64: person and views, and the pair's place in the batch's
    masks."""

    person: Tensor
    pair: Tensor
    view_a: Tensor
    view_b: Tensor

    @staticmethod
    def of_triplets(pairs: Tensor) -> ViewPairs:
        """From [M, 2], triplet and index into `PAIRS`."""
        triplet, pair = pairs.unbind(1)
        return ViewPairs(triplet, pair, *_PAIR_VIEWS.to(pairs.device)[pair].unbind(1))


class Correspondences(NamedTuple):
    """What the flow of M pairs says, over b's pixels: source [M, 2, H, W] in a and target [M, 2, H, W] in b, both in
    [-1, 1], show the same skin; mask [M, 1, H, W], MC where that can be relied on; triangle [M, H, W] int64, what the
    head shows at source, -1 where that is nothing."""

    source: Tensor
    target: Tensor
    mask: Tensor
    triangle: Tensor


def _decoded(
    flame: Flame, parameters: Parameters, chosen: ViewPairs, lens: Lens | None = None
) -> tuple[tuple[Tensor, Tensor, Tensor | None], ...]:
    """Of the heads in a, and of those in b: vertices, projected vertices, and directions to the camera."""
    n_views = parameters.rotation.shape[1]
    unrolled = torch.cat([chosen.person * n_views + view for view in (chosen.view_a, chosen.view_b)])
    decoded = decode(flame, parameters, unrolled, lens)
    toward = (
        2 * (None,) if lens is None else lens.of(unrolled).toward(decoded.projected, decoded.camera[:, :1]).chunk(2)
    )
    return tuple(zip(decoded.vertices.chunk(2), decoded.projected.chunk(2), toward, strict=True))


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
    chosen = ViewPairs.of_triplets(pairs)
    seen_a, seen_b = (renderer.view(*head) for head in _decoded(flame, parameters, chosen))
    return _rendered(renderer, parameters, batch, chosen, seen_a, seen_b, consistency)


def _rendered(
    renderer: Renderer, parameters: Parameters, batch: TripletBatch, chosen: ViewPairs, seen_a: View, seen_b: View,
    consistency: bool,
) -> RenderedPairs:  # fmt: skip
    texture, weight = renderer.extract(batch.images[chosen.person, chosen.view_a], seen_a)
    albedo = renderer.albedo(parameters.albedo[chosen.person, chosen.view_b])
    shaded = renderer.shaded_texture(seen_b.normals, albedo, parameters.light[chosen.person, chosen.view_b])
    rendered = renderer.render(fill_unseen(texture, weight, shaded.clamp(0, 1)), seen_b)
    mask = covisible_mask(
        batch.landmark_masks[chosen.person, chosen.pair],
        renderer.face_mask(seen_b),
        batch.consistency[chosen.person, chosen.pair] if consistency else None,
    )
    return RenderedPairs(batch.images[chosen.person, chosen.view_b], rendered, mask)


def project_pairs(
    flame: Flame, renderer: Renderer, parameters: Parameters, batch: TripletBatch, pairs: Tensor
) -> ProjectedPairs:
    """The skin that view b shows, where it is in a by the head and by the precomputed flow.

    Arguments are those of `render_pairs`; the mask also asks that the flow agrees both ways. Differentiable in the
    heads of both views: a point is held by b's pixel, not by its place on the surface.
    """
    assert batch.targets is not None, "the precomputed form needs a flow store with flow"
    chosen = ViewPairs.of_triplets(pairs)
    (_, projected_a, _), head_b = _decoded(flame, parameters, chosen)
    seen_b = renderer.view(*head_b)
    target = batch.targets[chosen.person, chosen.pair]
    stride = seen_b.fragments.pix_to_face.shape[-1] // target.shape[-1]
    only_face = avg_pool2d(renderer.face_mask(seen_b), stride) > _WHOLE
    mask = covisible_mask(
        batch.landmark_masks[chosen.person, chosen.pair],
        only_face.to(target.dtype),
        batch.consistency[chosen.person, chosen.pair],
    )
    return ProjectedPairs(avg_pool2d(_seen_elsewhere(renderer, seen_b.fragments, projected_a), stride), target, mask)


def measured_pairs(
    flame: Flame, renderer: Renderer, estimator: FlowEstimator, parameters: Parameters, batch: TripletBatch,
    pairs: Tensor, consistency: bool,
) -> ProjectedPairs:  # fmt: skip
    """Equation 6 with the flow as a measurement: no gradient goes through the estimator.

    What the photograph shows at p is, so the flow says, in the render at p + f. That render's pixel came from a's
    photograph, and the head takes it back from there: to where it should have put it, which is p, in the limits of the
    flow. The length of the way is the flow's; its gradient is that of the heads in both views.

    Args:
        flame, renderer: of the head model.
        estimator: F.
        parameters, batch, pairs, consistency: as of `render_pairs`.

    Returns:
        Over b's pixels: projected, where the head puts what the flow found; target, where the photograph has it; mask,
        MC where it is in the render and the way back through a's photograph ends where it began.
    """
    chosen = ViewPairs.of_triplets(pairs)
    seen_a, seen_b = (renderer.view(*head) for head in _decoded(flame, parameters, chosen))
    with torch.no_grad():
        shown = _rendered(renderer, parameters, batch, chosen, seen_a, seen_b, consistency)
        found = _corresponding(renderer, estimator, shown, seen_a, seen_b)
    projected = _sampled(_seen_elsewhere(renderer, seen_a.fragments, seen_b.projected), found.source)
    return ProjectedPairs(projected, found.target, found.mask)


@torch.no_grad()
def correspondences(
    flame: Flame, renderer: Renderer, estimator: FlowEstimator, parameters: Parameters, batch: TripletBatch,
    pairs: ViewPairs, lens: Lens | None = None,
) -> Correspondences:  # fmt: skip
    """Where two photographs show the same skin, by the flow from b's to the render of a's texture.

    Arguments are those of `measured_pairs`, for any pairs of any number of views, and `decode`'s lens.
    """
    seen_a, seen_b = (renderer.view(*head) for head in _decoded(flame, parameters, pairs, lens))
    shown = _rendered(renderer, parameters, batch, pairs, seen_a, seen_b, consistency=False)
    return _corresponding(renderer, estimator, shown, seen_a, seen_b)


def _corresponding(
    renderer: Renderer, estimator: FlowEstimator, shown: RenderedPairs, seen_a: View, seen_b: View
) -> Correspondences:
    flow = estimator(shown.mask * shown.photograph, shown.mask * shown.rendered)
    height, width = flow.shape[-2:]
    here = pixel_centres((height, width), flow).permute(2, 0, 1).expand_as(flow)
    there = here + flow * flow.new_tensor([2 / width, 2 / height])[:, None, None]
    source = _sampled(_seen_elsewhere(renderer, seen_b.fragments, seen_a.projected), there)
    back = _sampled(_seen_elsewhere(renderer, seen_a.fragments, seen_b.projected), source)
    returned = (back - there).norm(dim=1, keepdim=True) < _RETURNED_PIXELS * 2 / width
    return Correspondences(source, here, shown.mask * returned, _nearest(seen_a.fragments.pix_to_face, source))


def _nearest(index: Tensor, places: Tensor) -> Tensor:
    """Of a map [B, H, W] what the pixels at places [B, 2, h, w] in [-1, 1] hold; -1 outside."""
    height, width = index.shape[1:]
    column, row = ((places + 1) * places.new_tensor([width / 2, height / 2])[:, None, None]).floor().long().unbind(1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    flat = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    return torch.where(inside, index.flatten(1).gather(1, flat.flatten(1)).view_as(flat), -1)


def _sampled(image: Tensor, places: Tensor) -> Tensor:
    """An image [B, C, H, W] at places [B, 2, h, w] in [-1, 1]."""
    return grid_sample(image, places.permute(0, 2, 3, 1), align_corners=False)


def _seen_elsewhere(renderer: Renderer, fragments: Fragments, projected: Tensor) -> Tensor:
    """Where the surface that each pixel shows lies in another camera, [B, 2, H, W], from its vertices [B, V, 3]."""
    corners = projected[:, renderer.faces.flatten(), :2].unflatten(1, (-1, 3))
    return interpolate(fragments, corners).permute(0, 3, 1, 2)
