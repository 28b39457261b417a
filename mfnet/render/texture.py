"""Equation 3: photographs sampled into texture space, where they show the surface, and fused."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample, max_pool2d, pad
from torch.nn.functional import interpolate as interpolate_image

from mfnet.head.model import HeadModel
from mfnet.render.rasterize import Fragments, interpolate, rasterize

# Of the mesh's extent in depth, which for a head is two millimetres.
_DEPTH_TOLERANCE = 0.01
_OUTSIDE = 2.0
# Of the image's width: so near to the silhouette a head that does not quite fit may show the background.
_SILHOUETTE = 1 / 64
# Times that of skull and neck, whose place in a photograph only the face tells.
_LOOSE = 3
_HARDLY_SEEN = 0.02


class TextureSpace(nn.Module):
    """The head's UV layout rasterized once at T x T: which triangle covers each texel, row 0 at v = 1.

    fragment_faces [1, T, T] int64, -1 where none does; fragment_bary [1, T, T, 3]; corner_uv [F, 3, 2] in [-1, 1].
    """

    fragment_faces: Tensor
    fragment_bary: Tensor
    corner_uv: Tensor

    def __init__(self, head: HeadModel, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution
        uv = torch.tensor(head.uv_coordinates, dtype=torch.float32)
        chart = torch.stack([uv[:, 0] * 2 - 1, 1 - uv[:, 1] * 2, torch.zeros(len(uv))], -1)
        uv_faces = torch.tensor(head.uv_faces)
        fragments = rasterize(chart[None], uv_faces, (resolution, resolution))
        self.register_buffer("fragment_faces", fragments.pix_to_face, persistent=False)
        self.register_buffer("fragment_bary", fragments.bary, persistent=False)
        self.register_buffer("corner_uv", chart[uv_faces][..., :2], persistent=False)

    def unwrap(self, vertices: Tensor, faces: Tensor) -> Tensor:
        """Per-vertex values [B, V, C] on the texels, [B, T, T, C]; 0 on texels no triangle covers."""
        batch = len(vertices)
        bary = self.fragment_bary.expand(batch, -1, -1, -1).to(vertices.dtype)
        fragments = Fragments(self.fragment_faces.expand(batch, -1, -1), bary, torch.zeros_like(bary[..., 0]))
        corners = vertices[:, faces.flatten()].unflatten(1, (-1, 3))
        return interpolate(fragments, corners)

    def sample(self, texture: Tensor, fragments: Fragments) -> Tensor:
        """Texture [B, C, T, T] as seen in an image, [B, C, H, W]; differentiable in texture and geometry."""
        grid = interpolate(fragments, self.corner_uv.to(texture.dtype))
        covered = (fragments.pix_to_face >= 0)[:, None]
        return grid_sample(texture, grid, align_corners=False, padding_mode="border") * covered


def extract_texture(
    space: TextureSpace, photograph: Tensor, projected: Tensor, faces: Tensor, fragments: Fragments, facing: Tensor
) -> tuple[Tensor, Tensor]:
    """Equation 3's I'_uv from one view: the photograph in texture space, and how well it shows each texel.

    The equation's M_face is not applied here, so that a whole head can be textured; in training it enters as the
    face mask MF of equation 5.

    Args:
        space: the UV layout.
        photograph: [B, 3, H, W] RGB.
        projected: [B, V, 3] vertices in the photograph's [-1, 1] coordinates with depth.
        faces: [F, 3].
        fragments: the mesh rasterized into this photograph.
        facing: [B, V] how squarely the surface faces the camera, in [-1, 1].

    Returns:
        texture [B, 3, T, T], differentiable in geometry, and weight [B, 1, T, T] in [0, 1]: how frontally the
        texel faces the camera, 0 where something nearer hides it or it lies outside the photograph.
    """
    values = space.unwrap(torch.cat([projected, facing[..., None]], -1), faces)
    # A vertex behind a pinhole camera has no place in its picture; outside of it is where it does no harm.
    position, depth, frontal = values[..., :2].nan_to_num(_OUTSIDE), values[..., 2], values[..., 3]
    texture = grid_sample(photograph, position, align_corners=False, padding_mode="border")
    with torch.no_grad():
        # The deepest of a texel's 3 x 3 pixel neighbourhood, so that a surface does not hide itself by rounding.
        covered = (fragments.pix_to_face >= 0)[:, None]
        reach = max_pool2d(torch.where(covered, fragments.zbuf[:, None], -torch.inf), 3, 1, 1)
        front = grid_sample(reach, position, mode="nearest", align_corners=False)[:, 0]
        inside = (position.abs() < 1).all(-1)
        near, most = projected[..., 2].amin(1), projected[..., 2].amax(1)
        tolerance = (_DEPTH_TOLERANCE * (most - near))[:, None, None]
        visible = inside & (depth < front + tolerance) & (frontal > 0.1) & (space.fragment_faces >= 0)
        weight = (visible * frontal.clamp(0, 1))[:, None]
    return texture, weight


def coverage(
    space: TextureSpace, projected: Tensor, faces: Tensor, fragments: Fragments, loose: Tensor | None = None
) -> Tensor:
    """How far inside the head's silhouette a photograph shows each texel, [B, 1, T, T] in [0, 1].

    0 up to a 64th of the image's width from the silhouette, where a head that does not quite fit takes the
    background for skin, and 1 from a 32nd on; of loose triangles at three times that distance. The photograph's
    border counts as silhouette, for the true one may lie just beyond it.

    Args:
        space, projected, faces, fragments: as for `extract_texture`.
        loose: [F] bool, triangles that no landmark holds in place; None: there are none.
    """
    background = (fragments.pix_to_face < 0).to(projected.dtype)[:, None]
    position = space.unwrap(projected[..., :2], faces)

    def inside(margin: float) -> Tensor:
        radius = max(1, round(margin * fragments.pix_to_face.shape[-1]))
        around = (radius, radius, radius, radius)
        kept = 1 - _pooled(max_pool2d, pad(background, around, value=1), radius)
        kept = kept * _pooled(avg_pool2d, pad(kept, around), radius)
        return grid_sample(kept, position, align_corners=False, padding_mode="border")

    if loose is None:
        return inside(_SILHOUETTE)
    of_loose = loose[space.fragment_faces.clamp(min=0)][:, None]
    return torch.where(of_loose, inside(_LOOSE * _SILHOUETTE), inside(_SILHOUETTE))


def _pooled(pool: Callable[..., Tensor], image: Tensor, radius: int) -> Tensor:
    """`pool(image, 2 * radius + 1, stride=1)`, its square window as a column and a row, which is many times faster."""
    window = 2 * radius + 1
    return pool(pool(image, (window, 1), 1), (1, window), 1)


def fuse_textures(textures: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean of several views' textures.

    Args:
        textures: [B, N, 3, T, T].
        weights: [B, N, 1, T, T] in [0, 1].

    Returns:
        fused [B, 3, T, T], 0 where no view saw the texel, and confidence [B, 1, T, T], the largest weight. A weight
        below 0.02 is taken for none.
    """
    weights = weights * (weights >= _HARDLY_SEEN)
    emphasised = weights**2
    total = emphasised.sum(1)
    fused = (textures * emphasised).sum(1) / total.clamp(min=_HARDLY_SEEN**2)
    return fused, weights.amax(1)


def mirror_unseen(texture: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Unseen texels [B, 3, T, T] from the mirrored side where that was seen; texture and confidence [B, 1, T, T].

    Mirroring is about u = 0.5, about which FLAME's texture coordinates and this project's own are symmetric.
    """
    mirrored, mirrored_confidence = texture.flip(-1), confidence.flip(-1)
    known = confidence > 0
    return torch.where(known, texture, mirrored), torch.where(known, confidence, mirrored_confidence)


def fill_unseen(texture: Tensor, confidence: Tensor, fallback: Tensor) -> Tensor:
    """Unseen texels from the mirrored side where that was seen, else from the fallback; [B, 3, T, T]."""
    texture, confidence = mirror_unseen(texture, confidence)
    return torch.where(confidence > 0, texture, fallback)


def complete_texture(textures: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Several views' textures fused; what none saw is mirrored from the other side, else diffused in.

    Light differs from side to side. So what is mirrored is shifted in colour to what was seen beside it.

    Arguments are those of `fuse_textures`, and so is the confidence returned beside the texture [B, 3, T, T].
    """
    fused, confidence = fuse_textures(textures, weights)
    texture, known = mirror_unseen(fused, confidence)
    seen, on_both_sides = confidence > 0, (confidence > 0) & (confidence.flip(-1) > 0)
    shift = diffuse(fused - fused.flip(-1), on_both_sides)
    texture = torch.where(seen, texture, (texture + shift).clamp(0, 1))
    return diffuse(texture, known > 0), confidence


def diffuse(texture: Tensor, known: Tensor, sweeps: int = 8) -> Tensor:
    """Fill unknown texels smoothly from the known ones: heat flowing in, solved from coarse to fine.

    Args:
        texture: [B, C, T, T].
        known: [B, 1, T, T] bool.
        sweeps: relaxations at each resolution.

    Returns:
        [B, C, T, T], equal to the texture where it is known and within its range elsewhere; 0 if nothing is known.
    """
    if known.all() or texture.shape[-2:].numel() == 1:
        return torch.where(known, texture, torch.zeros_like(texture))
    weight = known.to(texture.dtype)
    share = avg_pool2d(weight, 2, ceil_mode=True)
    coarse = avg_pool2d(texture * weight, 2, ceil_mode=True) / share.clamp(min=1e-6)
    filled = interpolate_image(diffuse(coarse, share > 0, sweeps), size=texture.shape[-2:], mode="nearest")
    for _ in range(sweeps):
        filled = avg_pool2d(pad(torch.where(known, texture, filled), (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.where(known, texture, filled)
