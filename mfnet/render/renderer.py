"""Equation 4: a head with a texture or an albedo and light, seen by a camera."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mfnet.head.model import HeadModel
from mfnet.render.rasterize import Fragments, interpolate, rasterize
from mfnet.render.shading import shade, vertex_normals
from mfnet.render.texture import TextureSpace, coverage, extract_texture


class View(NamedTuple):
    """A batch of heads in front of their cameras: what every later step of the renderer needs.

    projected [B, V, 3] in image coordinates with depth; normals [B, V, 3] unit, in the vertices' axes; facing [B, V]
    in [-1, 1], how squarely each vertex's surface faces the camera; fragments, what each pixel sees.
    """

    projected: Tensor
    normals: Tensor
    facing: Tensor
    fragments: Fragments


class Renderer(nn.Module):
    """R(M, B, c, I_uv) of equation 4 for one head model, image size (H, W) and texture size (T, T).

    The albedo's mean and its first `n_albedo` directions are resampled to T x T once; `backend` is `rasterize`'s.
    """

    faces: Tensor
    face_region: Tensor
    skull_and_neck: Tensor
    albedo_mean: Tensor
    albedo_basis: Tensor

    def __init__(
        self,
        head: HeadModel,
        image_size: int | tuple[int, int],
        texture_size: int,
        n_albedo: int,
        backend: str = "native",
    ) -> None:
        super().__init__()
        self.image_size = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.backend = backend
        self.space = TextureSpace(head, texture_size)
        self.register_buffer("faces", torch.tensor(head.faces), persistent=False)
        self.register_buffer("face_region", torch.tensor(head.face_region), persistent=False)
        self.register_buffer("skull_and_neck", torch.tensor(head.skull_and_neck), persistent=False)
        mean = torch.tensor(head.albedo_mean).permute(2, 0, 1).float()
        basis = torch.tensor(head.albedo_basis[:n_albedo].astype("float32")).permute(0, 3, 1, 2)
        resize = nn.functional.interpolate
        size = (texture_size, texture_size)
        self.register_buffer("albedo_mean", resize(mean[None], size, mode="area"), persistent=False)
        # A head with fewer directions than asked for gets the rest as zeros.
        padded = torch.zeros(n_albedo, 3, *size)
        if len(basis):
            padded[: len(basis)] = resize(basis, size, mode="area")
        self.register_buffer("albedo_basis", padded, persistent=False)

    def view(self, vertices: Tensor, projected: Tensor, toward_camera: Tensor | None = None) -> View:
        """Rasterize heads.

        Args:
            vertices: [B, V, 3] posed heads; shading happens in their axes.
            projected: [B, V, 3] the same in image coordinates with depth.
            toward_camera: [B, V, 3] or broadcast to it, unit directions from the surface to the camera in the vertices'
                axes, as `Lens.toward` has them; None is FLAME's +z, that of an unturned orthographic camera.
        """
        fragments = rasterize(projected, self.faces, self.image_size, self.backend)
        normals = vertex_normals(vertices, self.faces)
        facing = normals[..., 2] if toward_camera is None else (normals * toward_camera).sum(-1)
        return View(projected, normals, facing, fragments)

    def albedo(self, coefficients: Tensor) -> Tensor:
        """A(alpha): [B, K] standard deviations to a texture [B, 3, T, T]."""
        return self.albedo_mean + torch.einsum("bk,kcij->bcij", coefficients, self.albedo_basis)

    def uv_normals(self, normals: Tensor) -> Tensor:
        """N_uv of equation 2: vertex normals [B, V, 3] as unit normals of the texels, [B, T, T, 3]."""
        return nn.functional.normalize(self.space.unwrap(normals, self.faces), dim=-1)

    def shaded_texture(self, normals: Tensor, albedo: Tensor, light: Tensor) -> Tensor:
        """Equation 2 in texture space, B(alpha, l, N_uv): [B, 3, T, T]."""
        return shade(albedo.permute(0, 2, 3, 1), self.uv_normals(normals), light).permute(0, 3, 1, 2)

    def extract(self, photograph: Tensor, view: View) -> tuple[Tensor, Tensor]:
        """Equation 3 for one view: texture [B, 3, T, T] and its weight [B, 1, T, T]."""
        return extract_texture(self.space, photograph, view.projected, self.faces, view.fragments, view.facing)

    def extract_inside(self, photograph: Tensor, view: View) -> tuple[Tensor, Tensor]:
        """`extract`, its weight also by how far inside the silhouette: for a head that does not fit to the pixel."""
        texture, weight = self.extract(photograph, view)
        return texture, weight * coverage(self.space, view.projected, self.faces, view.fragments, self.skull_and_neck)

    def render(self, texture: Tensor, view: View) -> Tensor:
        """Equation 4: the texture [B, C, T, T] as the camera sees it, [B, C, H, W], 0 outside the head."""
        return self.space.sample(texture, view.fragments)

    def face_mask(self, view: View) -> Tensor:
        """MF of equation 5: [B, 1, H, W], 1 where the face without mouth interior and eyes is seen."""
        index = view.fragments.pix_to_face
        return ((index >= 0) & self.face_region[index.clamp(min=0)])[:, None].float()

    def pixel_normals(self, view: View) -> Tensor:
        """Unit normals of what each pixel shows, [B, H, W, 3], 0 outside the head."""
        corners = view.normals[:, self.faces.flatten()].unflatten(1, (-1, 3))
        return nn.functional.normalize(interpolate(view.fragments, corners), dim=-1)

    def depth_shading(self, view: View) -> Tensor:
        """The bare shape under a head light, [B, 3, H, W] in [0, 1], for people to look at."""
        normals = self.pixel_normals(view)
        toward = normals.new_tensor([0.25, 0.35, 0.9])
        light = 0.18 + 0.78 * (normals @ (toward / toward.norm())).clamp(min=0)
        return (light * (view.fragments.pix_to_face >= 0))[:, None].expand(-1, 3, -1, -1)
