"""Where a training runs: one process, or several that torchrun or Slurm has started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from mfnet.config import EngineParams
from mfnet.errors import UserError

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import ClusterEnvironment

_RANK_VARIABLES = ("RANK", "SLURM_PROCID")


def started_by_others() -> bool:
    """Whether torchrun has started this process, or srun one for every task."""
    return torch.distributed.is_torchelastic_launched() or _by_srun()


def _by_srun() -> bool:
    # A batch script itself has a rank too, but is no step of srun's.
    return "SLURM_STEP_NUM_TASKS" in os.environ and "SLURM_PROCID" in os.environ


def is_first(engine: EngineParams) -> bool:
    """Whether this is the process that reports and writes; known before any of them has met another."""
    if engine.processes == 1:
        return True
    rank = next((os.environ[name] for name in _RANK_VARIABLES if name in os.environ), "0")
    return int(rank) == 0


def open_fabric(engine: EngineParams, precision: str) -> Fabric:
    """The devices of a training; its processes meet here.

    Args:
        engine: how many.
        precision: of `mfnet.config.TrainParams`.

    Raises:
        UserError: so many processes have not been started, or the GPU has no such precision.
    """
    from lightning_fabric import Fabric  # noqa: PLC0415  takes seconds
    from lightning_fabric.strategies import DDPStrategy  # noqa: PLC0415
    from lightning_fabric.utilities.exceptions import MisconfigurationException  # noqa: PLC0415

    cuda = torch.cuda.is_available()
    if precision == "bf16-mixed" and cuda and not torch.cuda.is_bf16_supported():
        raise UserError("train.precision: this GPU has no bf16; expected 32-true or 16-mixed")
    # Terms that are weighted zero or come later leave a part of the network without a gradient.
    ddp = DDPStrategy(find_unused_parameters=True, process_group_backend="nccl" if cuda else "gloo")
    together = {"ddp": ddp}[engine.strategy]
    try:
        environment = _environment(engine)
        fabric = Fabric(
            # Not "auto": Apple's GPUs lack the double precision that triangles are searched in.
            accelerator="cuda" if cuda else "cpu",
            devices=engine.devices,
            num_nodes=engine.nodes,
            strategy=together if engine.processes > 1 else "auto",
            precision=precision,  # type: ignore[arg-type]
            plugins=[environment],
        )
        if engine.processes > 1:
            fabric.launch()
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise UserError(f"engine: {' '.join(str(error).split())}") from error
    return fabric


def _environment(engine: EngineParams) -> ClusterEnvironment:
    from lightning_fabric.plugins.environments import (  # noqa: PLC0415
        LightningEnvironment,
        SLURMEnvironment,
        TorchElasticEnvironment,
    )

    # One process trains alone, whatever a scheduler calls its cores.
    if engine.processes == 1:
        return LightningEnvironment()
    by_torchrun = torch.distributed.is_torchelastic_launched()
    count = os.environ.get("WORLD_SIZE" if by_torchrun else "SLURM_STEP_NUM_TASKS", "1") if started_by_others() else "1"
    if int(count) != engine.processes:
        expected = f"torchrun, or srun --nodes={engine.nodes} --ntasks-per-node={engine.devices}"
        raise UserError(
            f"engine: {engine.devices} devices on {engine.nodes} nodes need as many processes, and {count} were "
            f"started; expected {expected}"
        )
    return TorchElasticEnvironment() if by_torchrun else SLURMEnvironment()
