"""How ranks tell each other a few numbers: the one small all-gather of a job without a coordinator."""

from __future__ import annotations

import atexit
import functools
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Protocol

import numpy as np
import torch
import torch.distributed as dist

from chronos_common.data.plan import Reals
from chronos_common.errors import ConfigurationError

_AT_EXIT: Final = timedelta(seconds=2)
_LOCK_SECONDS: Final = 0.05
_under_way: dict[int, dist.Work] = {}


@functools.cache
def outlive_threads() -> None:
    """From now on this process ends only after threads of torch.distributed have let go of what is Python's.

    One that asks for the interpreter's lock when the interpreter ends aborts the process. So it waits for gathers that
    nobody waited for, and then leaves the lock to whoever stands in line for it.
    """
    atexit.register(wait_at_exit)


def wait_at_exit() -> None:
    """What :func:`outlive_threads` does at the end; it takes a bounded time."""
    for work in _under_way.values():
        try:
            work.wait(_AT_EXIT)
        except RuntimeError:  # the others are gone: it is over as well
            continue
    time.sleep(_LOCK_SECONDS)


class Exchange(Protocol):
    """Numbers of every rank for every rank."""

    @property
    def rank(self) -> int:
        """This process, from 0."""
        ...

    @property
    def world_size(self) -> int:
        """Processes that exchange."""
        ...

    def gather(self, values: Reals) -> Callable[[], Reals]:
        """Starts to gather ``values`` (n,) of every rank; the result waits for them and gives (W, n)."""
        ...


class TorchExchange:
    """Over a process group of torch.distributed.

    Args:
        group: any whose backend is gloo, NCCL or another with all-gather; ``None`` is the default group. A group of
            its own on gloo (``dist.new_group(backend="gloo")``) keeps the numbers off a GPU's queue.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise ConfigurationError(
                "torch.distributed is not initialised; call init_process_group (torchrun sets its environment) first"
            )
        outlive_threads()
        self._group = group
        backend = dist.get_backend(group)
        self._device = torch.device("cuda", torch.cuda.current_device()) if backend == "nccl" else None

    @property
    def rank(self) -> int:
        return dist.get_rank(self._group)

    @property
    def world_size(self) -> int:
        return dist.get_world_size(self._group)

    def gather(self, values: Reals) -> Callable[[], Reals]:
        own = torch.tensor(np.asarray(values, dtype=np.float64), device=self._device)
        every = [torch.empty_like(own) for _ in range(self.world_size)]
        work = dist.all_gather(every, own, group=self._group, async_op=True)
        _under_way[id(work)] = work

        def wait() -> Reals:
            _under_way.pop(id(work), None)
            work.wait()
            gathered: Reals = torch.stack(every).cpu().numpy()
            return gathered

        return wait
