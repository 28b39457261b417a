"""The loss of equations 6 to 11, one function a term.

Distances are in the crop's [-1, 1] coordinates and averaged, not summed, over landmarks and pixels, so that the
paper's weights mean the same at every image size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mfnet.config import VARIANTS, LossParams
from mfnet.errors import UserError
from mfnet.flow import FlowEstimator

EYE_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))
LIP_PAIRS = ((61, 67), (62, 66), (63, 65))


class Losses(NamedTuple):
    """The five terms, each a scalar tensor."""

    multiop: Tensor
    singlelmk: Tensor
    eye: Tensor
    lip: Tensor
    reg: Tensor


def multiview_optical(estimator: FlowEstimator, photograph: Tensor, rendered: Tensor, mask: Tensor) -> Tensor:
    """Equation 6: the length of the flow between a photograph and the render of another view's texture.

    Args:
        estimator: F.
        photograph: I_b [B, 3, H, W].
        rendered: I_{a->b} [B, 3, H, W], differentiable in the geometry.
        mask: MC_{a,b} [B, 1, H, W].

    Returns:
        Mean L1 length over the mask, in units of half the image; 0 where the masks are empty.
    """
    height, width = photograph.shape[-2:]
    flow = estimator(mask * photograph, mask * rendered)
    half_image = flow.new_tensor([width / 2, height / 2])[:, None, None]
    return ((flow / half_image).abs().sum(1, keepdim=True) * mask).sum() / mask.sum().clamp(min=1)


def multiview_projection(projected: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Equation 6 with its gradient in the geometry alone: how far skin is from where flow has it.

    Args:
        projected: [B, 2, h, w] in [-1, 1], differentiable in the geometry of both views.
        target: [B, 2, h, w] in [-1, 1], of precomputed or measured flow.
        mask: MC [B, 1, h, w].

    Returns:
        Mean L1 distance over the mask, in units of half the image; 0 where the masks are empty.
    """
    return ((projected - target).abs().sum(1, keepdim=True) * mask).sum() / mask.sum().clamp(min=1)


def single_view_keypoint(detected: Tensor, projected: Tensor) -> Tensor:
    """Equation 7: mean L1 distance of the landmarks, [B, 68, 2] each; all 68 project into MF."""
    return (detected - projected).abs().sum(-1).mean()


def _relative_offset(detected: Tensor, projected: Tensor, pairs: tuple[tuple[int, int], ...]) -> Tensor:
    first, second = map(list, zip(*pairs, strict=True))
    offset = detected[:, first] - detected[:, second]
    return (offset - (projected[:, first] - projected[:, second])).abs().sum(-1).mean()


def eye_keypoint(detected: Tensor, projected: Tensor) -> Tensor:
    """Equation 8: the offsets between upper and lower eyelids, [B, 68, 2] each."""
    return _relative_offset(detected, projected, EYE_PAIRS)


def lip_keypoint(detected: Tensor, projected: Tensor) -> Tensor:
    """Equation 9: the offsets between upper and lower inner lips, [B, 68, 2] each."""
    return _relative_offset(detected, projected, LIP_PAIRS)


def regularisation(shape: Tensor, expression: Tensor, albedo: Tensor) -> Tensor:
    """Equation 10: the lengths of shape [B, n], expression [B, m] and albedo [B, N, K], means over the batch."""
    # The small constant keeps the gradient finite at zero, where training starts.
    return sum((code.square().sum(-1) + 1e-12).sqrt().mean() for code in (shape, expression, albedo))  # type: ignore[return-value]


def total(losses: Losses, weights: LossParams) -> Tensor:
    """Equation 11; a term of weight zero is left out, even if it is not finite."""
    terms = [getattr(weights, name) * term for name, term in losses._asdict().items() if getattr(weights, name)]
    return torch.stack(terms).sum() if terms else losses.reg * 0


def variant_loss(loss: LossParams, variant: str) -> LossParams:
    """The loss weights of an ablation: `no_eye` is the same with `eye` at zero."""
    if variant not in VARIANTS:
        raise UserError(f"variant '{variant}' is unknown; expected one of {', '.join(VARIANTS)}")
    if variant == "full":
        return loss
    return loss.model_copy(update={variant.removeprefix("no_"): 0.0})
