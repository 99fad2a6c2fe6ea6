"""From sizes to shares: the planner, a pure function of (sizes, configuration, epoch, step, speeds, caps)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from chronos_common.data.balance import Shares, balanced, segmented
from chronos_common.data.capped import checked_caps
from chronos_common.data.composer import Composer
from chronos_common.data.costs import CostModel, checked_sizes, costs_of
from chronos_common.data.pace import checked_speeds, pace_of
from chronos_common.data.partition import checked_groups
from chronos_common.data.plan import Caps, Groups, Indices, PlanConfig, Reals, Speeds, StepPlan
from chronos_common.errors import CapacityError, ConfigurationError


class Planner:
    """Cuts epochs into batches, and batches into shares that take equally long.

    Args:
        sizes: of the samples, (N,), finite and above 0.
        config: how.
        groups: which node holds which samples, for a partitioned data set.
        cost: a callable in the place of the cost model that ``config.cost`` names: sizes (N,) to costs (N,).

    Raises:
        ConfigurationError: sizes, costs or groups that cannot be, or no step at all.
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
        self._costs = costs_of(self._sizes, cost or config.cost, min(config.batch_size, self.samples))
        self._groups = None if groups is None else checked_groups(groups, self.samples)
        if not self.steps:
            raise ConfigurationError(
                f"{self.samples} samples make no batch of {config.batch_size}, and drop_last drops the rest"
            )
        self._composer = Composer(
            units=self._costs.units,
            config=config,
            nodes=None if self._groups is None else self._groups.samples,
        )

    @property
    def samples(self) -> int:
        """In the data set."""
        return len(self._sizes)

    @cached_property
    def steps(self) -> int:
        """In one epoch."""
        whole, rest = divmod(self.samples, self.config.batch_size)
        return whole + bool(rest and not self.config.drop_last)

    @property
    def randomness(self) -> str:
        """In use: what ``auto`` chose, or what the configuration says."""
        return self._composer.chosen

    def batch(self, epoch: int, step: int) -> Indices:
        """The samples of one step, whoever takes them: fixed by the configuration and the epoch alone."""
        if not 0 <= step < self.steps:
            raise ConfigurationError(f"step is {step}; an epoch has {self.steps}, from 0")
        if epoch < 0:
            raise ConfigurationError(f"epoch is {epoch}; it must be 0 or more")
        size = self.config.batch_size
        return self._composer.order(epoch)[step * size : (step + 1) * size]

    def plan(
        self, epoch: int, step: int, speeds: Speeds, caps: Caps | None = None, nodes: Indices | None = None
    ) -> StepPlan:
        """One step; see :meth:`plans`."""
        return self.plans(epoch, step, 1, speeds, caps, nodes)[0]

    def plans(
        self,
        epoch: int,
        first: int,
        count: int,
        speeds: Speeds,
        caps: Caps | None = None,
        nodes: Indices | None = None,
    ) -> Sequence[StepPlan]:
        """Steps ``first`` to ``first + count - 1``: the same as one by one, in a fraction of the time.

        Args:
            epoch: from 0.
            first: step.
            count: steps.
            speeds: of the workers that are there.
            caps: of the same.
            nodes: of the same, (W,), for a partitioned data set; by default as the groups said.

        Raises:
            ConfigurationError: a step that is not, speeds or caps that cannot be, more workers than samples.
            CapacityError: a step does not fit into the caps, or belongs to a node without a worker.
        """
        speeds = checked_speeds(speeds)
        if speeds.workers > self.samples:
            raise ConfigurationError(
                f"{speeds.workers} workers and {self.samples} samples: some would never have work; use fewer workers"
            )
        checked = None if caps is None else checked_caps(caps, speeds.workers)
        batches = [self.batch(epoch, step) for step in range(first, first + count)]
        if count and len(batches[0]) != len(batches[-1]):
            rows = np.stack(batches[:-1])
            return [
                *self._planned(epoch, first, rows, speeds, checked, nodes),
                *self._planned(epoch, first + count - 1, batches[-1][None], speeds, checked, nodes),
            ]
        return self._planned(epoch, first, np.stack(batches), speeds, checked, nodes) if count else []

    def rebalance(
        self,
        epoch: int,
        step: int,
        indices: Indices,
        speeds: Speeds,
        loads: Reals,
        caps: Caps | None = None,
        nodes: Indices | None = None,
    ) -> StepPlan:
        """Divides returned samples of a step among the living.

        Args:
            epoch: of the step.
            step: that the samples were taken from.
            indices: of the samples, (n,).
            speeds: of the living; their alpha is not counted again.
            loads: seconds of this step that each of them has already, (W,).
            caps: what each holds at most of these samples.
            nodes: of the living, for a partitioned data set.

        Raises:
            ConfigurationError, CapacityError: as :meth:`plans`.
        """
        mine = np.asarray(indices, dtype=np.int64)
        speeds = checked_speeds(speeds, np.asarray(loads, dtype=np.float64))
        checked = None if caps is None else checked_caps(caps, speeds.workers)
        if not mine.size:
            return _nothing(epoch, step, speeds)
        return self._planned(epoch, step, mine[None], speeds, checked, nodes)[0]

    def _planned(
        self, epoch: int, first: int, rows: Indices, speeds: Speeds, caps: Caps | None, nodes: Indices | None
    ) -> list[StepPlan]:
        groups = self._groups
        if groups is None:
            shares = self._shares(epoch, first, rows, speeds, caps)
            seconds = self._seconds(speeds, shares)
            indices = np.take_along_axis(rows, shares.positions, axis=1)
            return [
                StepPlan(
                    epoch=epoch, step=first + row, indices=indices[row], offsets=offsets, seconds=seconds[row]
                )
                for row, offsets in enumerate(shares.offsets)
            ]
        where = groups.workers if nodes is None else np.asarray(nodes)
        if where.shape != (speeds.workers,):
            raise ConfigurationError(
                f"nodes of {where.shape} workers and speeds of {speeds.workers}; give one for each"
            )
        return [
            self._grouped(epoch, first + row, mine, groups.samples[mine], speeds, caps, where)
            for row, mine in enumerate(rows)
        ]

    def _grouped(
        self,
        epoch: int,
        step: int,
        mine: Indices,
        of: Indices,
        speeds: Speeds,
        caps: Caps | None,
        where: Indices,
    ) -> StepPlan:
        taken = [np.empty(0, dtype=np.int64)] * speeds.workers
        seconds = speeds.alpha.copy()
        for node in np.unique(of):
            workers = np.flatnonzero(where == node)
            if not workers.size:
                raise CapacityError(
                    f"step {step} has samples of node {node}, and no worker is there",
                    node=int(node),
                    step=step,
                )
            some = Speeds(alpha=speeds.alpha[workers], beta=speeds.beta[workers])
            room = None if caps is None else Caps(count=caps.count[workers], memory=caps.memory[workers])
            rows = mine[of == node]
            shares = self._shares(epoch, step, rows[None], some, room)
            seconds[workers] = self._seconds(some, shares)[0]
            for worker, part in zip(
                workers, np.split(rows[shares.positions[0]], shares.offsets[0, 1:-1]), strict=True
            ):
                taken[worker] = part
        offsets = np.cumsum([0, *(len(part) for part in taken)])
        return StepPlan(
            epoch=epoch, step=step, indices=np.concatenate(taken), offsets=offsets, seconds=seconds
        )

    def _seconds(self, speeds: Speeds, shares: Shares) -> Reals:
        with np.errstate(over="ignore"):
            found = speeds.alpha + speeds.beta * (shares.units * self._costs.unit)
        return np.minimum(found, np.finfo(np.float64).max)

    def _shares(self, epoch: int, first: int, rows: Indices, speeds: Speeds, caps: Caps | None) -> Shares:
        costs = self._costs.units[rows]
        sizes = None if caps is None else self._sizes[rows]
        pace = pace_of(speeds, self._costs.unit)
        if self.config.kind == "guided":
            turns = (np.arange(first, first + len(rows)) + epoch) % speeds.workers
            return segmented(costs, sizes, pace, caps, turns)
        if self.config.kind == "static":
            even = pace_of(Speeds.equal(speeds.workers), 1.0)
            return balanced(costs, sizes, even, caps, equal_counts=True, grain=self._costs.grain)
        return balanced(costs, sizes, pace, caps, equal_counts=False, grain=self._costs.grain)


def rebalance(
    indices: Indices, sizes: Reals, speeds: Speeds, loads: Reals, *, epoch: int = 0, step: int = 0
) -> StepPlan:
    """Divides samples among workers that have something to do already, by linear cost, without a planner.

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
    mine = np.asarray(indices, dtype=np.int64)
    if not mine.size:
        return _nothing(epoch, step, checked_speeds(speeds, np.asarray(loads, dtype=np.float64)))
    planner = Planner(sizes, PlanConfig(batch_size=len(mine), shuffle=False))
    found = planner.rebalance(epoch, step, np.arange(len(mine)), speeds, loads)
    return StepPlan(
        epoch=epoch, step=step, indices=mine[found.indices], offsets=found.offsets, seconds=found.seconds
    )


def _nothing(epoch: int, step: int, speeds: Speeds) -> StepPlan:
    offsets = np.zeros(speeds.workers + 1, dtype=np.int64)
    return StepPlan(epoch=epoch, step=step, indices=offsets[:0], offsets=offsets, seconds=speeds.alpha.copy())
