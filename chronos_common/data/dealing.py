"""From what is due to who takes it: the planner behind a ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chronos_common.data.events import Dealt
from chronos_common.data.ledger import Due
from chronos_common.data.plan import Groups, Indices, PlanConfig, Reals, Speeds, StepPlan
from chronos_common.data.planner import Planner
from chronos_common.fleet import SpeedTable


class Dealer:
    """Divides steps, and what came back of them, among the members.

    Args:
        sizes: of the samples, (N,), finite and above 0.
        config: of the plan.
        nodes: node of each sample, (N,), for a partitioned data set, where a worker takes only those of its own.
    """

    def __init__(self, sizes: Reals, config: PlanConfig, nodes: Indices | None = None) -> None:
        self._sizes = sizes
        self._nodes = nodes
        there = None if nodes is None else np.unique(nodes)
        self._all_nodes = frozenset() if there is None else frozenset(there.tolist())
        groups = None if nodes is None or there is None else Groups(samples=nodes, workers=there)
        self._planner = Planner(sizes, config, groups)

    def deal(
        self, due: Sequence[Due], turn: int, members: Mapping[str, int], speeds: SpeedTable
    ) -> Dealt | None:
        """The division of the most urgent thing that can be divided; ``None`` while samples wait for their node.

        Args:
            due: what may be dealt, the most urgent first; of the plan's steps, or what came back.
            turn: its number.
            members: node of each member.
            speeds: how fast they are.
        """
        for wanted in due:
            if self._nodes_of(wanted) <= set(members.values()):
                return self._dealt(wanted, turn, members, speeds)
        return None

    def _nodes_of(self, due: Due) -> frozenset[int] | set[int]:
        if self._nodes is None:
            return frozenset()
        return self._all_nodes if due.indices is None else set(self._nodes[due.indices].tolist())

    def _dealt(self, due: Due, turn: int, members: Mapping[str, int], table: SpeedTable) -> Dealt:
        workers = tuple(sorted(members))
        found = table.speeds(workers)
        speeds = Speeds(alpha=found.alpha, beta=found.beta, version=found.version)
        where = np.array([members[worker] for worker in workers], dtype=np.int64)
        nodes = None if self._nodes is None else where
        if due.indices is None:
            plan = self._planner.plan(due.epoch, due.step, speeds, nodes=nodes)
        else:
            plan = self._planner.rebalance(
                due.epoch, due.step, due.indices, speeds, speeds.alpha, nodes=nodes
            )
        return Dealt(
            turn=turn,
            epoch=due.epoch,
            step=due.step,
            part=due.part,
            workers=workers,
            indices=plan.indices,
            offsets=plan.offsets,
            costs=_costs(plan, speeds),
            sizes=_sums(self._sizes[plan.indices], plan.offsets),
        )


def steps_of(samples: int, config: PlanConfig) -> int:
    """Steps of an epoch."""
    whole, rest = divmod(samples, config.batch_size)
    return whole + bool(rest and not config.drop_last)


def _costs(plan: StepPlan, speeds: Speeds) -> Reals:
    """What the planner took the shares to cost, whatever its cost model; an empty share costs nothing."""
    costs = np.maximum((plan.seconds - speeds.alpha) / speeds.beta, 0.0)
    return np.where(plan.counts > 0, costs, 0.0)


def _sums(values: Reals, offsets: Indices) -> Reals:
    ends = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(ends[offsets[1:]] - ends[offsets[:-1]], dtype=np.float64)
