"""What one view of a person shows of another: equations 3 to 5, and the forms of equation 6 built on them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from mfnet.flow import FlowEstimator
from mfnet.method.covisible import covisible_mask
from mfnet.method.network import decode
from mfnet.method.views import Correspondences, Decoder, ProjectedPairs, RenderedPairs, Scene, ViewPairs
from mfnet.render import Renderer, View, interpolate
from mfnet.render.rasterize import Fragments, pixel_centres
from mfnet.render.texture import fill_unseen

_WHOLE = 0.999
_RETURNED_PIXELS = 2.0


class _Heads(NamedTuple):
    """M heads in front of their cameras: vertices and projected vertices [M, V, 3], and for pinholes the directions to
    the camera [M, V, 3]."""

    vertices: Tensor
    projected: Tensor
    toward: Tensor | None


def _heads(decoder: Decoder, scene: Scene, pairs: ViewPairs) -> tuple[_Heads, _Heads]:
    """The heads in a, and those in b."""
    views = torch.cat([pairs.view_a, pairs.view_b])
    decoded = decode(decoder.flame, scene.parameters, views, scene.lens)
    parts = [decoded.vertices.chunk(2), decoded.projected.chunk(2)]
    if scene.lens is None:
        (vertices_a, vertices_b), (projected_a, projected_b) = parts
        return _Heads(vertices_a, projected_a, None), _Heads(vertices_b, projected_b, None)
    toward = scene.lens.of(views).toward(decoded.projected, decoded.camera[:, :1]).chunk(2)
    in_a, in_b = zip(*parts, toward, strict=True)
    return _Heads(*in_a), _Heads(*in_b)


def render_pairs(decoder: Decoder, scene: Scene, pairs: ViewPairs) -> RenderedPairs:
    """Equations 3 to 5: sample the texture of view a, render it in view b, mask."""
    view_a, view_b = (decoder.renderer.view(*head) for head in _heads(decoder, scene, pairs))
    return _rendered(decoder.renderer, scene, pairs, view_a, view_b)


def _rendered(renderer: Renderer, scene: Scene, pairs: ViewPairs, view_a: View, view_b: View) -> RenderedPairs:
    photographs = scene.photographs.flatten(0, 1)
    albedo_code, light = (
        part.flatten(0, 1)[pairs.view_b] for part in (scene.parameters.albedo, scene.parameters.light)
    )
    texture, weight = renderer.extract(photographs[pairs.view_a], view_a)
    shaded = renderer.shaded_texture(view_b.normals, renderer.albedo(albedo_code), light)
    rendered = renderer.render(fill_unseen(texture, weight, shaded.clamp(0, 1)), view_b)
    evidence = pairs.evidence
    mask = covisible_mask(evidence.landmark_mask, renderer.face_mask(view_b), evidence.consistency)
    return RenderedPairs(photographs[pairs.view_b], rendered, mask)


def project_pairs(decoder: Decoder, scene: Scene, pairs: ViewPairs) -> ProjectedPairs:
    """The skin that view b shows, where it is in a by the head and by the precomputed flow.

    The mask also asks that the flow agrees both ways. Differentiable in the heads of both views: a point is held by b's
    pixel, not by its place on the surface.
    """
    target, consistency = pairs.evidence.target, pairs.evidence.consistency
    assert target is not None, "the precomputed form needs a flow store with flow"
    head_a, head_b = _heads(decoder, scene, pairs)
    view_b = decoder.renderer.view(*head_b)
    stride = view_b.fragments.pix_to_face.shape[-1] // target.shape[-1]
    only_face = avg_pool2d(decoder.renderer.face_mask(view_b), stride) > _WHOLE
    mask = covisible_mask(pairs.evidence.landmark_mask, only_face.to(target.dtype), consistency)
    elsewhere = _in_other_view(decoder.renderer, view_b.fragments, head_a.projected)
    return ProjectedPairs(avg_pool2d(elsewhere, stride), target, mask)


def measured_pairs(decoder: Decoder, scene: Scene, pairs: ViewPairs, estimator: FlowEstimator) -> ProjectedPairs:
    """Equation 6 with the flow as a measurement: no gradient goes through the estimator F.

    What the photograph shows at p is, so the flow says, in the render at p + f. That render's pixel came from a's
    photograph, and the head takes it back from there: to where it should have put it, which is p, in the limits of the
    flow. The length of the way is the flow's; its gradient is that of the heads in both views.

    Returns:
        Over b's pixels: projected, where the head puts what the flow has followed; target, where the photograph has it;
        mask, MC where it is in the render and the way back through a's photograph ends where it began.
    """
    view_a, view_b = (decoder.renderer.view(*head) for head in _heads(decoder, scene, pairs))
    with torch.no_grad():
        rendered = _rendered(decoder.renderer, scene, pairs, view_a, view_b)
        measured = _corresponding(decoder.renderer, estimator, rendered, view_a, view_b)
    elsewhere = _in_other_view(decoder.renderer, view_a.fragments, view_b.projected)
    return ProjectedPairs(_sampled(elsewhere, measured.source), measured.target, measured.mask)


@torch.no_grad()
def correspondences(decoder: Decoder, scene: Scene, pairs: ViewPairs, estimator: FlowEstimator) -> Correspondences:
    """Where two photographs show the same skin, by the flow from b's to the render of a's texture."""
    view_a, view_b = (decoder.renderer.view(*head) for head in _heads(decoder, scene, pairs))
    rendered = _rendered(decoder.renderer, scene, pairs, view_a, view_b)
    return _corresponding(decoder.renderer, estimator, rendered, view_a, view_b)


def _corresponding(
    renderer: Renderer, estimator: FlowEstimator, rendered: RenderedPairs, view_a: View, view_b: View
) -> Correspondences:
    flow = estimator(rendered.mask * rendered.photograph, rendered.mask * rendered.rendered)
    height, width = flow.shape[-2:]
    here = pixel_centres((height, width), flow).permute(2, 0, 1).expand_as(flow)
    there = here + flow * flow.new_tensor([2 / width, 2 / height])[:, None, None]
    source = _sampled(_in_other_view(renderer, view_b.fragments, view_a.projected), there)
    back = _sampled(_in_other_view(renderer, view_a.fragments, view_b.projected), source)
    returned = (back - there).norm(dim=1, keepdim=True) < _RETURNED_PIXELS * 2 / width
    return Correspondences(source, here, rendered.mask * returned, _nearest(view_a.fragments.pix_to_face, source))


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


def _in_other_view(renderer: Renderer, fragments: Fragments, projected: Tensor) -> Tensor:
    """Where the surface that each pixel shows lies in another camera, [B, 2, H, W], from its vertices [B, V, 3]."""
    corners = projected[:, renderer.faces.flatten(), :2].unflatten(1, (-1, 3))
    return interpolate(fragments, corners).permute(0, 3, 1, 2)
