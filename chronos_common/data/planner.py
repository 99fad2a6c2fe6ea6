"""From sizes to shares: the planner, a pure function of (sizes, configuration, epoch, step, speeds, caps)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from chronos_common.data.costs import CostModel, checked_sizes, costs_of
from chronos_common.data.plan import Caps, Groups, Indices, PlanConfig, Reals, Speeds, StepPlan
from chronos_common.errors import ConfigurationError


class Planner:
    """Cuts epochs into batches, and batches into shares that take equally long.

    Args:
        sizes: of the samples, (N,), finite and above 0.
        config: how.
        groups: which node holds which samples, for a partitioned data set.
        cost: a callable in the place of the cost model that ``config.cost`` names: sizes (N,) to costs (N,).

    Raises:
        ConfigurationError: sizes or costs that cannot be, or no step at all.
    """

    def __init__(
        self,
        sizes: ArrayLike,
        config: PlanConfig,
        groups: Groups | None = None,
        cost: CostModel | None = None,
    ) -> None:
        self.config = config
        self._sizes = checked_sizes(sizes)
        self._costs = costs_of(self._sizes, cost or config.cost, config.batch_size)
        self._groups = groups
        if not self.steps:
            raise ConfigurationError(
                f"{self.samples} samples make no batch of {config.batch_size}, and drop_last drops the rest"
            )
        self._order: tuple[int, Indices] | None = None

    @property
    def samples(self) -> int:
        """In the data set."""
        return len(self._sizes)

    @property
    def steps(self) -> int:
        """In one epoch."""
        whole, rest = divmod(self.samples, self.config.batch_size)
        return whole + bool(rest and not self.config.drop_last)

    def batch(self, epoch: int, step: int) -> Indices:
        """The samples of one step, whoever takes them: fixed by the configuration and the epoch alone."""
        if not 0 <= step < self.steps:
            raise ConfigurationError(f"step is {step}; an epoch has {self.steps}, from 0")
        size = self.config.batch_size
        return self._epoch_order(epoch)[step * size : (step + 1) * size]

    def plan(self, epoch: int, step: int, speeds: Speeds, caps: Caps | None = None) -> StepPlan:
        """One step."""
        return self.plans(epoch, step, 1, speeds, caps)[0]

    def plans(
        self, epoch: int, first: int, count: int, speeds: Speeds, caps: Caps | None = None
    ) -> Sequence[StepPlan]:
        """Steps ``first`` to ``first + count - 1``; several at once take less time than one after the other."""
        found = []
        for step in range(first, first + count):
            indices = self.batch(epoch, step)
            found.append(
                rebalance(indices, self._sizes[indices], speeds, speeds.alpha, epoch=epoch, step=step)
            )
        return found

    def rebalance(
        self, epoch: int, step: int, indices: Indices, speeds: Speeds, loads: Reals, caps: Caps | None = None
    ) -> StepPlan:
        """Divides returned samples of a step among the living; see :func:`rebalance`."""
        return rebalance(indices, self._sizes[indices], speeds, loads, epoch=epoch, step=step)

    def _epoch_order(self, epoch: int) -> Indices:
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self.config.seed, epoch])
            order = rng.permutation(self.samples) if self.config.shuffle else np.arange(self.samples)
            self._order = epoch, order
        return self._order[1]


def rebalance(
    indices: Indices, sizes: Reals, speeds: Speeds, loads: Reals, *, epoch: int = 0, step: int = 0
) -> StepPlan:
    """Divides samples among workers that have something to do already.

    Args:
        indices: of the samples, (n,).
        sizes: of these samples, (n,).
        speeds: of the workers; their alpha is not counted again.
        loads: seconds that each has already, (W,).
        epoch: that they belong to.
        step: likewise.

    Returns:
        A plan of these samples; its seconds count the loads.
    """
    busy = np.array(loads, dtype=np.float64)
    taken: list[list[int]] = [[] for _ in range(speeds.workers)]
    for position in np.argsort(-sizes, kind="stable"):
        after = busy + speeds.beta * sizes[position]
        worker = int(after.argmin())
        busy[worker] = after[worker]
        taken[worker].append(int(indices[position]))
    offsets = np.concatenate([[0], np.cumsum([len(mine) for mine in taken])])
    flat = np.array([index for mine in taken for index in mine], dtype=np.int64)
    return StepPlan(epoch=epoch, step=step, indices=flat, offsets=offsets.astype(np.int64), seconds=busy)
