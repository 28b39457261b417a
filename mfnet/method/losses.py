"""The loss of equations 6 to 11, one function a term.

Distances are in the crop's [-1, 1] coordinates and averaged, not summed, over landmarks and pixels, so that the
paper's weights mean the same at every image size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mfnet.data.landmarks import LANDMARK_SPREAD, N_LANDMARKS
from mfnet.flow import FlowEstimator
from mfnet.loss_terms import TERMS
from mfnet.method.network import Parameters
from mfnet.method.processes import mean_over_processes

EYE_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))
LIP_PAIRS = ((61, 67), (62, 66), (63, 65))


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
    return ((flow / half_image).abs().sum(1, keepdim=True) * mask).sum() / mean_over_processes(mask.sum()).clamp(min=1)


def multiview_projection(projected: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Equation 6 with its gradient in the geometry alone: how far skin is from where flow has it.

    Args:
        projected: [B, 2, h, w] in [-1, 1], differentiable in the geometry of both views.
        target: [B, 2, h, w] in [-1, 1], of precomputed or measured flow.
        mask: MC [B, 1, h, w].

    Returns:
        Mean L1 distance over the mask, in units of half the image; 0 where the masks are empty.
    """
    return ((projected - target).abs().sum(1, keepdim=True) * mask).sum() / mean_over_processes(mask.sum()).clamp(min=1)


def landmark_weights(rule: Literal["even", "by_error"], like: Tensor) -> Tensor:
    """How much each landmark counts in equation 7, [68] with mean 1, in the precision and on the device of a tensor.

    `even` is the paper's; `by_error` the inverse square of what a detector errs by there (`LANDMARK_SPREAD`).
    """
    precision = np.ones(N_LANDMARKS) if rule == "even" else LANDMARK_SPREAD**-2.0
    return torch.as_tensor(precision / precision.mean(), dtype=like.dtype, device=like.device)


def single_view_keypoint(detected: Tensor, projected: Tensor, weights: Tensor | None = None) -> Tensor:
    """Equation 7: mean L1 distance of the landmarks, [B, 68, 2] each; all 68 project into MF.

    Args:
        detected, projected: in [-1, 1].
        weights: [68] of the landmarks, with mean 1; see `landmark_weights`. None: all count alike.
    """
    distance = (detected - projected).abs().sum(-1)
    return (distance if weights is None else distance * weights).mean()


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


@dataclass(frozen=True)
class Evidence:
    """What the terms compare, of B people in N views.

    detected, projected: [B * N, 68, 2] in [-1, 1], landmarks of the photographs and of the heads.
    parameters: of the heads.
    multiview: gives equation 6's loss, a scalar; it is the one term that is not computed in every step.
    weights: [68] of the landmarks; see `single_view_keypoint`.
    """

    detected: Tensor
    projected: Tensor
    parameters: Parameters
    multiview: Callable[[], Tensor]
    weights: Tensor | None = None


# Of every entry of `mfnet.loss_terms.TERMS` what computes it; a test compares the two.
_FUNCTIONS: dict[str, Callable[[Evidence], Tensor]] = {
    "multiop": lambda evidence: evidence.multiview(),
    "singlelmk": lambda evidence: single_view_keypoint(evidence.detected, evidence.projected, evidence.weights),
    "eye": lambda evidence: eye_keypoint(evidence.detected, evidence.projected),
    "lip": lambda evidence: lip_keypoint(evidence.detected, evidence.projected),
    "reg": lambda evidence: regularisation(
        evidence.parameters.shape, evidence.parameters.expression, evidence.parameters.albedo
    ),
}


def compute_losses(evidence: Evidence) -> dict[str, Tensor]:
    """Every term of equation 11 by name, each a scalar, in the order of `mfnet.loss_terms.TERMS`."""
    return {name: _FUNCTIONS[name](evidence) for name in TERMS}


def total(losses: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Equation 11; a term of weight zero is left out, even if it is not finite."""
    terms = [weight * losses[name] for name, weight in weights.items() if weight]
    return torch.stack(terms).sum() if terms else losses["reg"] * 0
