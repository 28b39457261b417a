"""Cameras and image coordinates: scaled orthography, pinholes, pixels, [-1, 1], and the crop between them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_FLIP = (1.0, -1.0, -1.0)


def orthographic_project(points: Tensor, camera: Tensor) -> Tensor:
    """Scaled orthography as in DECA: x' = s (x + tx), y' = -s (y + ty), z' = -s z.

    Args:
        points: [B, N, 3] FLAME's axes, any unit.
        camera: [B, 3] s, tx, ty.

    Returns:
        [B, N, 3] x right, y down in [-1, 1] over the image, z away from the camera in the same scale.
    """
    scale, shift = camera[:, None, :1], torch.nn.functional.pad(camera[:, 1:], (0, 1))[:, None]
    return scale * (points + shift) * points.new_tensor(_FLIP)


def pinhole_project(points: Tensor, intrinsics: Tensor, extrinsics: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Pinhole with OpenCV's axes (x right, y down, z forward), pixel (0, 0) covering [0, 1] x [0, 1].

    Args:
        points: [B, N, 3] world.
        intrinsics: [B, 3, 3] K in pixels.
        extrinsics: [B, 3, 4] world to camera.
        image_size: (H, W).

    Returns:
        [B, N, 3] x, y in [-1, 1] over the image, z the depth in the world's unit; x, y are NaN for points that are not
        before the camera, which `rasterize` then leaves out.
    """
    camera_points = points @ extrinsics[:, :, :3].mT + extrinsics[:, None, :, 3]
    homogeneous = camera_points @ intrinsics.mT
    before = camera_points[..., 2:] > 0
    pixels = homogeneous[..., :2] / torch.where(before, homogeneous[..., 2:], 1)
    pixels = torch.where(before, pixels, torch.nan)
    return torch.cat([pixel_to_ndc(pixels, image_size), camera_points[..., 2:]], -1)


def toward_pinhole(points: Tensor, extrinsics: Tensor) -> Tensor:
    """Unit directions [B, N, 3] from points [B, N, 3] to the camera that extrinsics [B, 3, 4] place; world axes."""
    centre = -(extrinsics[:, None, :, 3] @ extrinsics[:, :, :3])
    return torch.nn.functional.normalize(centre - points, dim=-1)


def pixel_to_ndc(pixels: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Pixel coordinates (x, y), 0 at the image's edge, to [-1, 1]; [..., 2] to [..., 2]."""
    height, width = image_size
    return pixels * pixels.new_tensor([2 / width, 2 / height]) - 1


def ndc_to_pixel(ndc: Tensor, image_size: tuple[int, int]) -> Tensor:
    """[-1, 1] to pixel coordinates (x, y), 0 at the image's edge; [..., 2] to [..., 2]."""
    height, width = image_size
    return (ndc + 1) * ndc.new_tensor([width / 2, height / 2])


class Crop(NamedTuple):
    """A square of the photograph: its centre (x, y) and side in the photograph's pixels."""

    centre_x: float
    centre_y: float
    side: float

    def to_square(self, pixels: Tensor) -> Tensor:
        """Photograph's pixels [..., 2] to [-1, 1] over the square."""
        return (pixels - pixels.new_tensor([self.centre_x, self.centre_y])) * (2 / self.side)

    def to_photograph(self, square: Tensor) -> Tensor:
        """[-1, 1] over the square [..., 2] to the photograph's pixels."""
        return square * (self.side / 2) + square.new_tensor([self.centre_x, self.centre_y])
