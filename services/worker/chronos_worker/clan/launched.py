"""Which members there are when a script says nothing about them: torchrun's ranks, or this process alone."""

from __future__ import annotations

import atexit

from torch import distributed as dist
from torch import nn

from chronos_common.clan import ClanConfig
from chronos_worker.clan.transport import Distributed, Solo, Transport


def default_transport(model: nn.Module) -> Transport:
    """The default process group, which is made for ranks that torchrun started; alone without either.

    Args:
        model: of this member; where its parameters lie decides between gloo and NCCL.
    """
    if is_launched() and not dist.is_initialized():
        on_cuda = any(parameter.is_cuda for parameter in model.parameters())
        dist.init_process_group("nccl" if on_cuda else "gloo")
        atexit.register(_leave)
    return Distributed() if _has_group() else Solo()


def is_launched() -> bool:
    """Whether torchrun started this process, or a process group is there."""
    return _has_group() or (dist.is_available() and dist.is_torchelastic_launched())


def wanted_members(population_size: int | None, algorithm: str | ClanConfig) -> int:
    """How many members the settings of a clan ask for; 1 where they ask for none."""
    if isinstance(algorithm, ClanConfig):
        return algorithm.population_size
    return population_size or 1


def _has_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
