"""Where the flow of both directions agrees."""

from __future__ import annotations

import torch
from torch import Tensor

from mfnet.flow.estimator import warp

_RELATIVE, _PIXELS = 0.01, 0.5


def forward_backward_consistency(forward: Tensor, backward: Tensor) -> Tensor:
    """Where going there and back ends where it began (Sundaram et al., ECCV 2010).

    Args:
        forward: [B, 2, H, W] pixels, from the first image to the second.
        backward: [B, 2, H, W] pixels, from the second to the first.

    Returns:
        [B, 1, H, W] bool over the first image; what leaves the second is not consistent.
    """
    returned = warp(backward, forward)
    squared = forward.square().sum(1, keepdim=True) + returned.square().sum(1, keepdim=True)
    residual = (forward + returned).square().sum(1, keepdim=True)
    inside = warp(torch.ones_like(forward[:, :1]), forward, outside="zeros") > 0.5
    return inside & (residual < _RELATIVE * squared + _PIXELS)
