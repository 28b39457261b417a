"""Estimators of flow over devices and precisions."""

from collections.abc import Callable

import pytest
import torch

from mfnet.flow import load_flow_estimator
from mfnet.flow.consistency import forward_backward_consistency
from mfnet.flow.estimator import warp


@pytest.mark.parametrize("name", ["packaged", "classical"])
def test_estimators(name: str, same_everywhere: Callable[..., None]) -> None:
    estimator = load_flow_estimator(name)
    first = torch.nn.functional.interpolate(torch.rand(1, 3, 16, 16), size=(128, 128), mode="bicubic").clamp(0, 1)

    def flow(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return estimator.to(one.device)(one, other)

    same_everywhere(flow, first, first.roll(2, 3), tolerance=2e-2)


def test_warp_and_consistency(same_everywhere: Callable[..., None]) -> None:
    flow = torch.randn(2, 2, 12, 10)
    same_everywhere(warp, torch.rand(2, 3, 12, 10), flow)
    same_everywhere(forward_backward_consistency, flow, -flow)
