"""A communication hook of DistributedDataParallel that weighs gradients and times this worker's own computing.

``reduction = weigh_gradients(ddp)``, then for each micro-batch ``reduction.scale(mean_loss, samples).backward()``. The
hook sums ``d_w * gradient`` and divides by the sum of all denominators, so counts may differ between workers, micro-
batches and steps, and nobody needs to know the total beforehand.
"""

# Annotations are evaluated here: DDP compares those of a hook with its own classes.
import math
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket

from chronos_common.data.torch.exchange import outlive_threads
from chronos_common.data.torch.weighting import uneven_normalisation, warn_about_batch_norm
from chronos_common.errors import InvalidRequestError

Clock = Callable[[], float]


class WeightedReduction:
    """State of the hook: this worker's denominator of the step, and when its own gradients were ready.

    Attributes:
        group: processes that reduce; ``None`` is the default group.
        nominal: a typical denominator of one micro-batch; losses are multiplied by ``denominator / nominal``, which
            keeps them in range for half precision. It must be the same on every worker and cancels out.
        clock: seconds; on a GPU pass one that waits for the device.
    """

    def __init__(
        self,
        group: dist.ProcessGroup | None = None,
        *,
        nominal: float = 1.0,
        clock: Clock = time.perf_counter,
    ) -> None:
        if not (math.isfinite(nominal) and nominal > 0.0):
            raise InvalidRequestError(f"nominal is {nominal}; it must be a finite number above 0")
        outlive_threads()
        self.group = group
        self.nominal = nominal
        self.clock = clock
        self._own: float | None = None
        self._total: Tensor | None = None
        self._pending: dist.Work | None = None
        self._started = math.nan
        self._ready = math.nan
        self._suspect: nn.Module | None = None
        self._reduced: tuple[float, Tensor] | None = None

    def scale(self, loss: Tensor, denominator: float) -> Tensor:
        """The loss to call ``backward`` on; micro-batches of one optimiser step add up.

        Args:
            loss: mean over ``denominator`` samples or tokens, ().
            denominator: 0 for a worker without samples: its loss, of any stand-in, then counts nothing.

        Raises:
            InvalidRequestError: a denominator that is negative or not finite.
        """
        if not (math.isfinite(denominator) and denominator >= 0.0):
            raise InvalidRequestError(
                f"denominator is {denominator}; it must be a finite number and not negative",
                field="denominator",
            )
        self._warn_once()
        self._own = (self._own or 0.0) + denominator
        if denominator == 0.0:
            # A loss of nothing is 0/0 in most criteria, and 0 times that is not 0.
            loss = torch.nan_to_num(loss, nan=0.0, posinf=0.0, neginf=0.0)
        return loss * (denominator / self.nominal)

    def start(self) -> None:
        """Own computing of a step begins: its batch is at hand."""
        self._started, self._ready = self.clock(), math.nan

    @property
    def seconds(self) -> float:
        """Own computing since :meth:`start`, until the last gradient was ready; NaN before that."""
        return self._ready - self._started

    def watch(self, module: nn.Module) -> None:
        """Warns once of this module's batch normalisation, as soon as counts differ."""
        self._suspect = module if uneven_normalisation(module) else None

    def reduce(self, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        """Sums one bucket over the workers; what DDP calls."""
        if bucket.is_last():
            self._ready = self.clock()
        buffer = bucket.buffer()
        if bucket.index() == 0:
            self._begin(buffer.device)
        total, pending, nominal = self._total, self._pending, self.nominal
        workers = dist.get_world_size(self.group)
        if bucket.is_last():
            self._own = None
        reduced = dist.all_reduce(buffer, group=self.group, async_op=True)

        def finish(future: torch.futures.Future[list[Tensor]]) -> Tensor:
            summed = future.value()[0]
            if total is None or pending is None:
                return summed.div_(workers)
            pending.wait()
            # Where nobody had a sample every gradient is 0, and stays it.
            divisor = torch.where(total > 0.0, total / nominal, torch.ones_like(total))
            return summed.mul_(divisor.reciprocal().to(summed.dtype))

        future: torch.futures.Future[Tensor] = reduced.get_future().then(finish)
        return future

    def _begin(self, device: torch.device) -> None:
        """Starts to sum the denominators, if the losses of this step were scaled."""
        if self._own is None:
            self._total = self._pending = None
            return
        self._total = torch.tensor(self._own, dtype=torch.float64, device=device)
        self._reduced = (self._own, self._total)
        self._pending = dist.all_reduce(self._total, group=self.group, async_op=True)

    def _warn_once(self) -> None:
        if self._suspect is None or self._reduced is None or self._own is not None:
            return
        own, total = self._reduced
        if total.item() != own * dist.get_world_size(self.group):
            warn_about_batch_norm(self._suspect)
            self._suspect = None


def weighted_allreduce(state: WeightedReduction, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """The hook itself, for ``ddp.register_comm_hook(WeightedReduction(), weighted_allreduce)``."""
    return state.reduce(bucket)


def weigh_gradients(ddp: nn.parallel.DistributedDataParallel, **options: Any) -> WeightedReduction:
    """Registers the hook on a DDP module; ``options`` go to :class:`WeightedReduction`."""
    state = WeightedReduction(options.pop("group", ddp.process_group), **options)
    state.watch(ddp.module)
    ddp.register_comm_hook(state, weighted_allreduce)
    return state
