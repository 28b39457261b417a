"""The decoder over devices and precisions."""

from collections.abc import Callable

import torch

from mfnet.head import Flame, HeadModel, rotation_from_axis_angle, yaw_degrees


def test_the_decoder(head: HeadModel, same_everywhere: Callable[..., None]) -> None:
    draw = torch.Generator().manual_seed(0)
    shape, expression, pose = (scale * torch.randn(2, n, generator=draw) for n, scale in ((9, 1), (6, 1), (15, 0.2)))
    decoder = Flame(head, 9, 6)

    def decode(*given: torch.Tensor) -> object:
        return decoder.to(given[0].device, given[0].dtype)(*given)

    same_everywhere(decode, shape, expression, pose, tolerance=2e-6)


def test_rotations_and_their_yaw(same_everywhere: Callable[..., None]) -> None:
    same_everywhere(rotation_from_axis_angle, torch.randn(5, 3))
    same_everywhere(lambda axis: yaw_degrees(rotation_from_axis_angle(axis)), 0.3 * torch.randn(5, 3), tolerance=1e-3)
