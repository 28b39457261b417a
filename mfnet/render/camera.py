"""Cameras and image coordinates: scaled orthography, pinholes, pixels, [-1, 1], and the crop between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
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
        in front of the camera, which `rasterize` then leaves out.
    """
    camera_points = points @ extrinsics[:, :, :3].mT + extrinsics[:, None, :, 3]
    homogeneous = camera_points @ intrinsics.mT
    in_front = camera_points[..., 2:] > 0
    pixels = homogeneous[..., :2] / torch.where(in_front, homogeneous[..., 2:], 1)
    pixels = torch.where(in_front, pixels, torch.nan)
    return torch.cat([pixel_to_ndc(pixels, image_size), camera_points[..., 2:]], -1)


class Lens(NamedTuple):
    """Pinholes of B crops, in each crop's [-1, 1]: focal [B] lengths and principal [B, 2] points."""

    focal: Tensor
    principal: Tensor

    def of(self, views: Tensor) -> Lens:
        """The pinholes of some of the crops, [M] int64."""
        return Lens(self.focal[views], self.principal[views])

    @staticmethod
    def joined(lenses: Sequence[Lens]) -> Lens:
        """Several batches of pinholes as one."""
        return Lens(torch.cat([lens.focal for lens in lenses]), torch.cat([lens.principal for lens in lenses]))

    def numbers(self) -> np.ndarray:
        """[B, 3] focal length and principal point of each, as they are stored."""
        return torch.cat([self.focal[:, None], self.principal], 1).numpy()

    @staticmethod
    def of_numbers(numbers: np.ndarray) -> Lens:
        """What `numbers` gave, [B, 3]."""
        stored = torch.from_numpy(numbers.astype(np.float32))
        return Lens(stored[:, 0], stored[:, 1:])

    def moved(self, flip: Tensor, scale: Tensor, shift: Tensor) -> Lens:
        """Those of crops whose picture goes from p to scale * flip * p + shift; flip, shift [B, 2], scale [B]."""
        return Lens(self.focal * scale, self.principal * flip * scale[:, None] + shift)

    def to(self, place: torch.device | torch.dtype) -> Lens:
        """The same on a device or in a precision."""
        return Lens(self.focal.to(place), self.principal.to(place))

    def project(self, points: Tensor, anchor: Tensor, scale: Tensor, place: Tensor) -> Tensor:
        """See points as scaled orthography would in the depth of an anchor, and in perspective nearer and further away.

        Args:
            points: [B, N, 3] FLAME's axes, any unit.
            anchor: [B, 3] in the same axes; its distance from the camera is focal / scale.
            scale: [B, 1] of the image at the anchor, per unit of the points.
            place: [B, 2] where the anchor is seen.

        Returns:
            [B, N, 3] x right, y down in [-1, 1] over the crop, z away from the camera in the same scale, 0 at the
            anchor. Points behind the camera are not expected.
        """
        distance = self.focal[:, None] / scale
        offset = torch.cat([(place - self.principal) / scale, distance], 1)
        in_camera = (points - anchor[:, None]) * points.new_tensor(_FLIP) + offset[:, None]
        screen = in_camera[..., :2] / in_camera[..., 2:] * self.focal[:, None, None] + self.principal[:, None]
        return torch.cat([screen, (in_camera[..., 2:] - distance[:, None]) * scale[:, None]], -1)

    def turn(self, place: Tensor) -> Tensor:
        """Rotations [B, 3] (axis-angle, FLAME's axes) from the camera's axis to the ray through places [B, 2]."""
        right, down = ((place - self.principal) / self.focal[:, None]).unbind(-1)
        off_axis = torch.stack([-down, -right, torch.zeros_like(right)], -1)
        # atan(r) / r, smooth where r is zero.
        squared = off_axis.square().sum(-1, keepdim=True)
        small = squared < 1e-8
        length = torch.where(small, 1, squared).sqrt()
        return off_axis * torch.where(small, 1 - squared / 3, length.atan() / length)

    def unproject(self, projected: Tensor, scale: Tensor) -> Tensor:
        """Back from what `project` gave, [B, N, 3], to the camera's frame in the unit of the points, OpenCV's axes."""
        depth = (projected[..., 2:] + self.focal[:, None, None]) / scale[:, None]
        offset = (projected[..., :2] - self.principal[:, None]) / self.focal[:, None, None]
        return torch.cat([offset * depth, depth], -1)

    def toward(self, projected: Tensor, scale: Tensor) -> Tensor:
        """Unit directions [B, N, 3] to the camera, FLAME's axes, from what `project` gave."""
        return torch.nn.functional.normalize(-self.unproject(projected, scale), dim=-1) * projected.new_tensor(_FLIP)


def centred_intrinsics(image_size: tuple[int, int], focal: float) -> np.ndarray:
    """K [3, 3] in pixels of a photograph (H, W) that was taken through its middle."""
    height, width = image_size
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


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

    def lens(self, intrinsics: np.ndarray) -> Lens:
        """The photograph's pinhole K [3, 3], in pixels, over the square; a batch of one."""
        principal = torch.tensor(intrinsics[:2, 2] - [self.centre_x, self.centre_y]) * (2 / self.side)
        return Lens(torch.tensor([intrinsics[0, 0] * 2 / self.side]).float(), principal[None].float())

    def to_photograph(self, square: Tensor) -> Tensor:
        """[-1, 1] over the square [..., 2] to the photograph's pixels."""
        return square * (self.side / 2) + square.new_tensor([self.centre_x, self.centre_y])
