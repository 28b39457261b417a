"""PyTorch3D as the rasterizer's search, where that package is installed."""

from __future__ import annotations

import torch
from torch import Tensor

from mfnet.errors import UserError


def search_pytorch3d(vertices: Tensor, faces: Tensor, image_size: tuple[int, int], cull_backfaces: bool) -> Tensor:
    """Nearest triangle per pixel, [B, H, W] int64, with the conventions of `mfnet.render.rasterize`."""
    try:
        from pytorch3d.renderer.mesh import rasterize_meshes  # noqa: PLC0415  optional package
        from pytorch3d.structures import Meshes  # noqa: PLC0415
    except ImportError as error:
        raise UserError("render backend pytorch3d: the package pytorch3d is not installed; use native") from error
    height, width = image_size
    # PyTorch3D's NDC is x left, y up, with the shorter side spanning [-1, 1]; it drops what lies at z < 0 and knows
    # only single precision.
    vertices = vertices.float()
    aspect = torch.tensor([max(width / height, 1.0), max(height / width, 1.0)], device=vertices.device)
    xy = -vertices[..., :2] * aspect
    depth = vertices[..., 2:] - vertices[..., 2:].amin() + 1
    meshes = Meshes(torch.cat([xy, depth], -1), faces.expand(len(vertices), -1, -1))
    packed, *_ = rasterize_meshes(
        meshes, image_size, faces_per_pixel=1, perspective_correct=False, cull_backfaces=cull_backfaces
    )
    packed = packed[..., 0]
    offset = torch.arange(len(vertices), device=packed.device)[:, None, None] * len(faces)
    return torch.where(packed >= 0, packed - offset, packed)
