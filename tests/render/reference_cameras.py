"""An independent way to the directions from points to a camera."""

import torch
from torch import Tensor


def toward_pinhole(points: Tensor, extrinsics: Tensor) -> Tensor:
    """Unit directions [B, N, 3] from points [B, N, 3] to the camera that extrinsics [B, 3, 4] place; world axes."""
    centre = -(extrinsics[:, None, :, 3] @ extrinsics[:, :, :3])
    return torch.nn.functional.normalize(centre - points, dim=-1)
