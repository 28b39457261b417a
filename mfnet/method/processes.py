"""Training in several processes: what each has of a batch, and what they must know of one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def n_processes() -> int:
    """How many train together; 1 where it is one alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if n_processes() > 1 else 0


def share_of(order: Tensor) -> Tensor:
    """Of positions [B] those [B / processes] that are this process's: dealt out like cards."""
    return order[process() :: n_processes()]


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of what every process has, without a gradient; what it is where there is only one."""
    if n_processes() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / n_processes()


def means_over_processes(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same of several scalars at once."""
    together = mean_over_processes(torch.stack([value.detach() for value in values.values()]))
    return dict(zip(values, together.unbind(), strict=True))


def with_shared_statistics(network: Network) -> Network:
    """Let every batch normalisation take its statistics over the batches of all processes, as one process would."""
    if n_processes() == 1:
        return network
    if torch.cuda.is_available():
        return cast(Network, nn.SyncBatchNorm.convert_sync_batchnorm(network))
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            shared = SharedBatchNorm2d(child.num_features, child.eps, child.momentum)
            shared.load_state_dict(child.state_dict())
            setattr(network, name, shared)
        else:
            with_shared_statistics(child)
    return network


class _Sum(torch.autograd.Function):
    """The sum over processes; each one's gradient is the sum of all gradients."""

    @staticmethod
    def forward(context: Any, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


class SharedBatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.SyncBatchNorm`, which torch has for GPUs alone, for processes of equally many pictures on CPUs."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise pictures [B, C, H, W]; in evaluation as the ordinary one does."""
        if not self.training or n_processes() == 1:
            return super().forward(input)
        pictures = input.float()
        mean = _Sum.apply(pictures.mean((0, 2, 3))) / n_processes()
        # Around the mean of all, for the difference of two large squares would lose digits.
        variance = _Sum.apply((pictures - mean[:, None, None]).square().mean((0, 2, 3))) / n_processes()
        with torch.no_grad():
            count = input.numel() / input.shape[1] * n_processes()
            self._remember(mean, variance * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (pictures * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
