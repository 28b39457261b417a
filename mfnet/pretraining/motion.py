"""Pairs of images whose flow is known exactly: what RAFT-small is trained and judged on.

The renderer knows where each visible point of a generated face goes when the face moves, turns, changes expression
or is seen by another camera, and where it is hidden there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, max_pool2d
from torch.nn.functional import interpolate as resize

from mfnet.flow.estimator import warp
from mfnet.head import Flame, HeadModel
from mfnet.render import Renderer, View, interpolate
from mfnet.render.camera import orthographic_project
from mfnet.render.rasterize import pixel_centres
from mfnet.render.texture import fill_unseen

KINDS = ("texture", "moved", "relit", "painted", "apart", "still")
_TEXTURE_SIZE = 160
_OCCLUSION_TOLERANCE = 0.02


class Pairs(NamedTuple):
    """B pairs of images and the flow between them.

    first, second [B, 3, H, W] in [0, 1]; flow [B, 2, H, W] in pixels, from first to second; weight [B, 1, H, W]: 1
    where it is known, which for faces is where both images show the same skin.
    """

    first: Tensor
    second: Tensor
    flow: Tensor
    weight: Tensor


class Pose(NamedTuple):
    """Heads in scaled orthography: shape [B, 100], expression [B, 50], pose [B, 15], camera [B, 3]."""

    shape: Tensor
    expression: Tensor
    pose: Tensor
    camera: Tensor


class MotionPairs:
    """Pairs of six kinds from some heads at one image size; what is drawn is a function of the seed.

    `texture` random textures under smooth motion; `moved` a face that moves a little; `relit` the same, and the light
    changes too; `painted` the same, but the second image is a render of the texture that a third view shows under
    another light, as in equation 6; `apart` one face from two cameras; `still` an image and itself. Most pairs of
    faces that move are masked to the face, as equation 6 masks them.
    """

    def __init__(self, heads: Sequence[HeadModel], image_size: int, seed: int) -> None:
        self._stages = [
            (Flame(head), Renderer(head, image_size, _TEXTURE_SIZE, min(len(head.albedo_basis), 40))) for head in heads
        ]
        self.image_size = image_size
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Start the draws anew."""
        self._generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def batch(self, **counts: int) -> Pairs:
        """So many pairs of each kind: `batch(moved=4, still=1)`."""
        stage = int(torch.randint(len(self._stages), (1,), generator=self._generator))
        self._flame, self._renderer = self._stages[stage]
        draws = {"texture": self._textures, "moved": self._moved, "relit": self._relit, "painted": self._painted,
                 "apart": self._apart, "still": self._still}  # fmt: skip
        parts = [draws[kind](count) for kind, count in counts.items() if count]
        return Pairs(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator)

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self._generator)

    def _textures(self, size: int) -> Pairs:
        side = (self.image_size, self.image_size)
        second = torch.full((size, 3, *side), 0.5)
        for cells in (6, 16, 40, 96):
            second = second + 0.13 * resize(self._normal(size, 3, cells, cells), side, mode="bicubic")
        second = second.clamp(0, 1)
        strength = self._uniform(0.0, 1.0, size, 1, 1, 1) ** 2 * 0.06 * self.image_size
        flow = strength * resize(self._normal(size, 2, 4, 4), side, mode="bicubic")
        flow = flow + strength * self._normal(size, 2, 1, 1)
        return Pairs(warp(second, flow), second, flow, torch.ones(size, 1, *side))

    def _moved(self, size: int) -> Pairs:
        light = self._light(size)
        return self._photographed_twice(light, light)

    def _relit(self, size: int) -> Pairs:
        light = self._light(size)
        return self._photographed_twice(light, self._other_light(light))

    def _photographed_twice(self, first_light: Tensor, second_light: Tensor) -> Pairs:
        first, second = self._nearby(len(first_light))
        views = self._view(first), self._view(second)
        skin, background = self._skin(len(first_light)), self._background(len(first_light))
        pictures = (
            self._picture(skin, views[0], first_light, background),
            self._picture(skin, views[1], second_light, background),
        )
        return self._masked(self._pairs(pictures, views), self._renderer.face_mask(views[0]))

    def _painted(self, size: int) -> Pairs:
        first, second = self._nearby(size)
        views, third = (self._view(first), self._view(second)), self._view(self._turned(first, 0.9))
        skin, light = self._skin(size), self._light(size)
        photograph = self._picture(skin, third, self._other_light(light), self._background(size))
        texture, weight = self._renderer.extract(photograph, third)
        albedo = self._renderer.albedo_mean.expand_as(texture)
        fallback = self._renderer.shaded_texture(views[1].normals, albedo, self._light(size))
        painted = self._renderer.render(fill_unseen(texture, weight, fallback.clamp(0, 1)), views[1])
        pictures = (self._picture(skin, views[0], light, self._background(size)), painted)
        return self._masked(self._pairs(pictures, views), self._renderer.face_mask(views[1]))

    def _apart(self, size: int) -> Pairs:
        first = self._anyone(size)
        views = self._view(first), self._view(self._turned(first, 1.0))
        skin, light = self._skin(size), self._light(size)
        # The lamp stays where it is, so both cameras see the skin lit as in the first.
        lit = self._renderer.shaded_texture(views[0].normals, skin, light)
        pictures = tuple(self._show(lit, view, self._background(size)) for view in views)
        return self._pairs(pictures, views)

    def _still(self, size: int) -> Pairs:
        one = self._view(self._anyone(size))
        picture = self._picture(self._skin(size), one, self._light(size), self._background(size))
        picture = self._exposed(picture)
        flow = torch.zeros(size, 2, self.image_size, self.image_size)
        pairs = Pairs(picture, picture, flow, torch.ones_like(flow[:, :1]))
        masked = self._masked(pairs, self._renderer.face_mask(one))
        return masked._replace(weight=pairs.weight)

    def _anyone(self, size: int) -> Pose:
        pose = torch.zeros(size, 15)
        pose[:, 0], pose[:, 2] = 0.15 * self._normal(size), 0.12 * self._normal(size)
        pose[:, 1] = self._uniform(-1.3, 1.3, size)
        pose[:, 6] = 0.12 * self._normal(size).abs()
        camera = [self._uniform(7.5, 12.0, size), 0.006 * self._normal(size), 0.006 * self._normal(size)]
        return Pose(self._normal(size, 100), 0.7 * self._normal(size, 50), pose, torch.stack(camera, 1))

    def _nearby(self, size: int) -> tuple[Pose, Pose]:
        """Someone, and the same a little moved, as a prediction misses the truth."""
        first = self._anyone(size)
        strength = self._uniform(0, 1, size, 1)
        pose, camera = first.pose.clone(), first.camera.clone()
        pose[:, :3] += strength * 0.11 * self._normal(size, 3)
        pose[:, 6:7] += strength * 0.08 * self._normal(size, 1)
        camera[:, :1] *= 1 + strength * 0.05 * self._normal(size, 1)
        camera[:, 1:] += strength * 0.004 * self._normal(size, 2)
        shape = first.shape + strength * 0.7 * self._normal(size, 100)
        return first, Pose(shape, first.expression + strength * 0.5 * self._normal(size, 50), pose, camera)

    def _turned(self, one: Pose, most: float) -> Pose:
        """The same head from another side, towards and past the front more often than away from it."""
        pose, camera = one.pose.clone(), one.camera.clone()
        back = torch.where(self._uniform(0, 1, len(pose)) < 0.8, -pose[:, 1].sign(), pose[:, 1].sign())
        pose[:, 1] += back * self._uniform(0.1, most, len(pose))
        camera[:, :1] *= 1 + 0.05 * self._normal(len(pose), 1)
        camera[:, 1:] += 0.004 * self._normal(len(pose), 2)
        return one._replace(pose=pose, camera=camera)

    def _view(self, one: Pose) -> View:
        """The head, its landmarks centred in the image as a crop centres them."""
        out = self._flame(one.shape, one.expression, one.pose)
        vertices = out.vertices - out.landmarks.mean(1, keepdim=True)
        return self._renderer.view(vertices, orthographic_project(vertices, one.camera))

    def _light(self, size: int) -> Tensor:
        light = self._normal(size, 9, 1) * 0.12 + self._normal(size, 9, 3) * 0.03
        light[:, 0] += self._uniform(1.4, 2.7, size, 1)
        light[:, 1:4] += 0.45 * self._normal(size, 3, 1)
        light[:, 3] += 0.5
        return light

    def _other_light(self, light: Tensor) -> Tensor:
        """Anything between the light and one that has nothing to do with it."""
        return torch.lerp(light, self._light(len(light)), self._uniform(0, 1, len(light), 1, 1))

    def _skin(self, size: int) -> Tensor:
        albedo = self._renderer.albedo(self._normal(size, self._renderer.albedo_basis.shape[0]))
        strength = self._uniform(0.01, 0.08, size, 1, 1, 1)
        grain: Any = sum(
            resize(self._normal(size, 1, cells, cells), albedo.shape[-2:], mode="bicubic") for cells in (20, 60, 160)
        )
        return (albedo * (1 + strength * grain)).clamp(0.01, 1)

    def _background(self, size: int) -> Tensor:
        cells = int(torch.randint(2, 12, (1,), generator=self._generator))
        side = (self.image_size, self.image_size)
        return (0.45 + 0.2 * resize(self._normal(size, 3, cells, cells), side, mode="bilinear")).clamp(0, 1)

    def _picture(self, skin: Tensor, view: View, light: Tensor, background: Tensor) -> Tensor:
        return self._show(self._renderer.shaded_texture(view.normals, skin, light), view, background)

    def _show(self, lit: Tensor, view: View, background: Tensor) -> Tensor:
        head = self._renderer.render(lit, view).clamp(0, 1)
        return torch.where((view.fragments.pix_to_face >= 0)[:, None], head, background)

    def _exposed(self, picture: Tensor) -> Tensor:
        """Another exposure, white balance and some noise."""
        gain = 1 + 0.1 * self._normal(len(picture), 1, 1, 1) + 0.04 * self._normal(len(picture), 3, 1, 1)
        noise = self._uniform(0, 0.015, len(picture), 1, 1, 1)
        return (picture * gain + noise * self._normal(*picture.shape)).clamp(0, 1)

    def _pairs(self, pictures: Sequence[Tensor], views: Sequence[View]) -> Pairs:
        first, second = map(self._exposed, pictures)
        return Pairs(first, second, *exact_flow(self._renderer, *views))

    def _masked(self, pairs: Pairs, mask: Tensor) -> Pairs:
        masked = self._uniform(0, 1, len(mask), 1, 1, 1) < 0.7
        shade = torch.where(masked, mask, torch.ones_like(mask))
        return Pairs(pairs.first * shade, pairs.second * shade, pairs.flow, pairs.weight * shade)


def exact_flow(renderer: Renderer, first: View, second: View) -> tuple[Tensor, Tensor]:
    """Where each visible point of the first view is in the second, and whether it is seen there.

    Args:
        renderer: of both views.
        first, second: B views of the same mesh, vertex for vertex.

    Returns:
        flow [B, 2, H, W] in pixels, 0 off the head, and covisibility [B, 1, H, W] in {0, 1}.
    """
    corners = second.projected[:, renderer.faces.flatten()].unflatten(1, (-1, 3))
    target = interpolate(first.fragments, corners)
    height, width = renderer.image_size
    covered = (first.fragments.pix_to_face >= 0)[..., None]
    moved = (target[..., :2] - pixel_centres(renderer.image_size, target)) * covered
    depth = torch.where(second.fragments.pix_to_face >= 0, second.fragments.zbuf, -torch.inf)[:, None]
    # The deepest of 3 x 3 pixels, so that skin seen at a slant does not hide itself.
    nearest = grid_sample(max_pool2d(depth, 3, 1, 1), target[..., :2], mode="nearest", align_corners=False)
    inside = (target[..., :2].abs() < 1).all(-1)
    covisible = covered[..., 0] & inside & (target[..., 2] < nearest[:, 0] + _OCCLUSION_TOLERANCE)
    flow = moved.permute(0, 3, 1, 2) * moved.new_tensor([width / 2, height / 2])[:, None, None]
    return flow, covisible[:, None].float()
