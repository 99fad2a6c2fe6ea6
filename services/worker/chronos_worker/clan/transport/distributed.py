"""Members are the ranks of a ``torch.distributed`` process group (gloo on CPU, NCCL on CUDA)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from chronos_common.errors import ConfigurationError, ProcessError
from chronos_worker.clan.transport.base import T


class Distributed:
    """A process group as a transport.

    Args:
        group: a process group; the default one if it is left out.

    Raises:
        ConfigurationError: there is no default group.
    """

    def __init__(self, group: Any = None) -> None:
        if group is None:
            if not dist.is_initialized():
                raise ConfigurationError(
                    "there is no process group; call torch.distributed.init_process_group first, or start with torchrun"
                )
            group = dist.group.WORLD
        self._group = group
        self._sums_device = "cuda" if group.name() == "nccl" else "cpu"

    @property
    def rank(self) -> int:
        return int(self._group.rank())

    @property
    def size(self) -> int:
        return int(self._group.size())

    @property
    def share(self) -> int:
        return self.rank

    def together(self, prepare: Callable[[], T], commit: Callable[[T], object], point: str) -> None:
        commit(prepare())

    def mean(self, flat: Tensor) -> None:
        with _failures():
            self._group.allreduce([flat]).wait()
        flat.div_(self.size)

    def broadcast(self, flat: Tensor, source: int) -> None:
        options = dist.BroadcastOptions()
        options.rootRank = source
        with _failures():
            self._group.broadcast([flat], options).wait()

    def gather(self, value: float) -> list[float]:
        mine = torch.tensor([value], dtype=torch.float64, device=self._sums_device)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        with _failures():
            self._group.allgather([found], [mine]).wait()
        return [float(each) for each in found]


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessError(
            f"a member of the clan cannot be reached ({error}); restart the job, which resumes from its last checkpoint"
        ) from error
