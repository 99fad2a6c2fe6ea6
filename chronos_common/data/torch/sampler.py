"""A drop-in for torch's DistributedSampler that balances each step by the sizes of its samples.

Used as a sampler it gives every rank ``batch_size`` samples of each step; in a
:class:`~chronos_common.data.torch.batches.BalancedBatchSampler` the counts vary too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from torch.utils.data.distributed import DistributedSampler as TorchSampler

from chronos_common.data.costs import CostModel
from chronos_common.data.plan import Caps, Indices, Kind, PlanConfig, Speeds, StepPlan
from chronos_common.data.planner import Planner
from chronos_common.data.torch.agreement import require_agreement
from chronos_common.data.torch.arguments import (
    default_rank,
    default_replicas,
    require_arguments,
    require_groups,
    require_in_order,
)
from chronos_common.data.torch.feedback import Feedback
from chronos_common.data.torch.parts import gathered
from chronos_common.data.torch.position import Position, restored
from chronos_common.data.torch.share import Share
from chronos_common.data.torch.sizes import sizes_of
from chronos_common.errors import ConfigurationError

Batch = TypeVar("Batch")
_STEPS_AT_ONCE = 32


class DistributedSampler(TorchSampler[int]):
    """Indices of one rank, every step's cost shared out evenly.

    Args:
        dataset: with a length; sizes as :func:`~chronos_common.data.torch.sizes.sizes_of` finds them.
        num_replicas: ranks; by default those of the default process group.
        rank: this one; by default that of the default process group.
        shuffle: a new order each epoch, which :meth:`set_epoch` chooses.
        seed: of the shuffles, the same on every rank.
        drop_last: leave out the last global batch where it is incomplete.
        batch_size: samples of a rank and step, on average; a global batch has ``num_replicas`` times as many.
        master_addr: accepted for programs written for samplers with a server; none is started.
        master_port: likewise.
        kind: ``static``: equal speeds; ``dynamic``: measured speeds; ``guided``: for models that pad.
        partition: the data set lies on groups of ranks, each with its part.
        groups: of each rank, (W,), needed with ``partition``.
        cost: ``linear``, ``quadratic`` or ``padded`` in the size, or a function of sizes (N,) that gives costs (N,).
        randomness: ``strict``, ``window:M``, ``noisy:S`` or ``auto``.
        caps: what each rank takes at most in a step, for example because of its memory; the same on every rank.
        feedback: where measured times come from; without it all ranks are taken to be equally fast.

    Raises:
        ConfigurationError: sizes that nobody can plan with, a rank out of range or there twice, no batch size, fewer
            samples than ranks, ranks that disagree.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        batch_size: int | None = None,
        master_addr: str | None = None,
        master_port: int | None = None,
        kind: Kind = "static",
        partition: bool = False,
        groups: Sequence[int] | None = None,
        *,
        cost: str | CostModel = "linear",
        randomness: str = "strict",
        caps: Caps | None = None,
        feedback: Feedback | None = None,
    ) -> None:
        ranks, own = default_replicas(num_replicas), default_rank(rank)
        sizes = sizes_of(dataset)
        each = require_arguments(ranks, own, batch_size, len(sizes))
        nodes = require_groups(ranks, partition, groups)
        self._parts = gathered(feedback.exchange if feedback else None, sizes, nodes, own) if nodes else None
        self._sizes = sizes if self._parts is None else self._parts.sizes
        super().__init__(dataset, ranks, own, shuffle, seed, drop_last)
        self.feedback = feedback
        self.config = PlanConfig(
            batch_size=each * ranks,
            kind=kind,
            cost=cost if isinstance(cost, str) else "linear",
            randomness=randomness,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            workers=ranks,
        )
        self.position = Position()
        self._cost = None if isinstance(cost, str) else cost
        self._caps = caps
        self._planner = self._planned()
        if feedback is not None:
            require_agreement(feedback.exchange, own, ranks, self._sizes, self.config, nodes)

    @property
    def batch_size(self) -> int:
        """Samples of a rank and step, rounded up."""
        return -(-self.config.batch_size // self.num_replicas)

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self._planner.steps

    def __len__(self) -> int:
        """Samples of this rank in a whole epoch, those that fill the last step included."""
        last = self._count(self.steps - 1)
        return (self.steps - 1) * self.batch_size + -(-last // self.num_replicas)

    def __iter__(self) -> Iterator[int]:
        """Samples of the steps that remain; where the last step does not go round, some are taken twice.

        Raises:
            ConfigurationError: a resumed epoch whose global batch the ranks cannot divide evenly.
        """
        if self._parts is not None:
            raise ConfigurationError(
                "a partitioned data set cannot give every rank as many samples: use BalancedBatchSampler"
            )
        if self.config.batch_size % self.num_replicas:
            raise ConfigurationError(
                f"this epoch began with batches of {self.config.batch_size} samples, which {self.num_replicas} ranks "
                "cannot divide evenly: use BalancedBatchSampler, or resume with a number of ranks that divides it"
            )
        for share in self.shares(equal=True):
            yield from share.batch

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order; a resumed epoch goes on where it was."""
        if epoch != self.epoch:
            self.position = Position()
        self.epoch = epoch

    def shares(self, *, equal: bool = False, accumulate: int = 1) -> Iterator[Share]:
        """This rank's shares of the steps that remain of the epoch.

        Args:
            equal: every rank takes the same count, filled with samples taken twice where the last step does not go
                round; otherwise counts vary, and a rank may have none.
            accumulate: steps that make one step of the optimiser.
        """
        epoch, first = self.epoch, self.position.begin(accumulate)
        if self.feedback is not None:
            self.feedback.begin_epoch()
        for plan, speeds in self._plans(epoch, first, equal=equal):
            share = self._share(plan, speeds, accumulate)
            if equal:
                self._fill(share)
            self.position.issue(share)
            yield share

    def follow(self, loader: Iterable[Batch]) -> Iterator[tuple[Batch, Share]]:
        """Each batch of a loader with the share that it was made of, however far the loader runs ahead.

        A share that the loop did not finish is finished when the next batch is asked for.
        """
        require_in_order(loader)
        self.position.following = True
        for batch in loader:
            share = self.position.take()
            yield batch, share
            share.finish()
        if self.feedback is not None:
            # Threads of torch.distributed that still gather when the interpreter ends abort the process.
            self.feedback.settle()

    def plan(self, epoch: int, step: int) -> StepPlan:
        """Who takes what in a step if all ranks are equally fast and counts may vary."""
        return self._planner.plan(epoch, step, Speeds.equal(self.num_replicas))

    def _plans(self, epoch: int, first: int, *, equal: bool) -> Iterator[tuple[StepPlan, Speeds]]:
        """Plans of the steps from ``first`` on, the same on every rank, and the speeds that they are made for."""
        measured = self.feedback if self.config.kind != "static" else None
        speeds = Speeds.equal(self.num_replicas)
        step, count = first, 1
        while step < self.steps:
            if measured is not None:
                speeds = measured.speeds(step - first)
            count = min(count, self.steps - step)
            if equal and step + count == self.steps:
                count = max(1, count - 1)  # the last step may be smaller, and its counts with it
            caps = self._equal_counts(step) if equal else self._caps
            for plan in self._planner.plans(epoch, step, count, speeds, caps):
                yield plan, speeds
            step += count
            # Several steps at once take less time, but the first batch should not wait, nor speeds grow old.
            count = min(2 * count, _STEPS_AT_ONCE) if measured is None else 1

    def _equal_counts(self, step: int) -> Caps:
        most = -(-self._count(step) // self.num_replicas)
        memory = np.zeros(self.num_replicas) if self._caps is None else self._caps.memory
        return Caps(count=np.full(self.num_replicas, most), memory=memory)

    def state_dict(self) -> dict[str, Any]:
        """Where the epoch stands, as JSON can hold it; of the whole job, the same on every rank.

        Steps count that were finished (:meth:`Share.finish`), or all that were handed out where nobody says what is
        finished, which is right as long as the loader takes no batches ahead.
        """
        return self.position.state(self.epoch, len(self._sizes), self.config)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with exactly the samples that remain of the epoch, with any number of ranks.

        The size of the global batch is that of the state.

        Raises:
            ConfigurationError: a state of other data, or of another order of them.
        """
        self.epoch, self.position, self.config = restored(state, len(self._sizes), self.config)
        self._planner = self._planned()

    def _planned(self) -> Planner:
        groups = None if self._parts is None else self._parts.groups
        return Planner(self._sizes, self.config, groups, self._cost)

    def _count(self, step: int) -> int:
        return min(self.config.batch_size, len(self._sizes) - step * self.config.batch_size)

    def _share(self, plan: StepPlan, speeds: Speeds, accumulate: int) -> Share:
        own, step = plan.share(self.rank), plan.step
        members = range(step - step % accumulate, min(self.steps, step - step % accumulate + accumulate))
        whole = self._samples(plan, members)
        alpha, beta = speeds.alpha[self.rank], speeds.beta[self.rank]
        return Share(
            plan=plan,
            indices=own,
            batch=self.loaded(plan, self.rank),
            cost=max(0.0, float((plan.seconds[self.rank] - alpha) / beta)) if len(own) else 0.0,
            size=float(self._sizes[own].sum()),
            total_count=len(whole),
            total_size=float(self._sizes[whole].sum()),
            last=step == members[-1],
            on_finish=self._finished,
        )

    def loaded(self, plan: StepPlan, rank: int) -> list[int]:
        """What a rank loads for a step; without samples, the smallest in reach, which is the quickest to compute."""
        own = plan.share(rank)
        if self._parts is not None:
            return (own - self._parts.first).tolist() or [int(np.argmin(sizes_of(self.dataset)))]
        return own.tolist() or [int(plan.indices[np.argmin(self._sizes[plan.indices])])]

    def _samples(self, plan: StepPlan, members: range) -> Indices:
        """All samples of some steps, whoever takes them; speeds do not matter for that."""
        if len(members) == 1:
            return plan.indices
        return np.concatenate([self._planner.batch(plan.epoch, step) for step in members])

    def _fill(self, share: Share) -> None:
        """Adds samples of the same step, taken again, until every rank has as many."""
        plan = share.plan
        most = -(-len(plan.indices) // self.num_replicas)
        missing = most - share.count
        if missing:
            draw = np.random.default_rng([self.config.seed, plan.epoch, plan.step, self.rank])
            again = draw.choice(np.sort(plan.indices), missing)
            share.indices = np.concatenate([share.indices, again])
            share.batch = share.indices.tolist()
            share.size = float(self._sizes[share.indices].sum())
        share.total_count = most * self.num_replicas

    def _finished(self, share: Share) -> None:
        if self.feedback is not None:
            if share.seconds is None:
                raise ConfigurationError(
                    f"step {share.plan.step} ended without its seconds, which the next plans need: call "
                    "share.finish(seconds)"
                )
            self.feedback.report(share.cost, share.seconds)
        self.position.finish(share.plan.step)
