"""A data plan of several workers in one process: a job behind a lock, without a coordinator."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np

from chronos_common.data import PlanConfig
from chronos_common.data.dealing import Dealer
from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.job import DataJob
from chronos_common.data.source import DealtShare


class SharedPlan:
    """The coordinator's side."""

    def __init__(self, samples: int, batch_size: int, workers: int, lookahead: int = 4) -> None:
        self.config = DataPlanConfig(
            samples=samples,
            plan=PlanConfig(batch_size=batch_size, workers=workers),
            workers=workers,
            lookahead=lookahead,
        )
        self.job = DataJob(self.config)
        self.changed = threading.Condition()
        self.finished: Counter[tuple[int, int]] = Counter()
        sizes = np.random.default_rng(1).integers(1, 50, samples).astype(float)
        self.fork_safe = True
        self._dealer = Dealer(sizes, self.config.plan)

    def source(self, name: str) -> LocalSource:
        """Joins."""
        with self.changed:
            self.job.join(name, 1)
            self.deal()
        return LocalSource(self, name)

    def leave(self, name: str) -> None:
        """A worker is gone."""
        with self.changed:
            self.job.leave(name, self.job.members[name].incarnation)
            self.deal()

    def deal(self) -> None:
        """Whatever is due; call it with the lock."""
        while (event := self.job.plan_next(self._dealer)) is not None:
            self.job.deal(event)
        self.changed.notify_all()


class LocalSource:
    """One worker's side, a ``ShareSource``."""

    def __init__(self, plan: SharedPlan, name: str) -> None:
        self._plan = plan
        self._name = name
        self._epoch = -1
        self._turn = 0
        self.reports: list[tuple[int, float]] = []

    @property
    def lookahead(self) -> int:
        return self._plan.config.lookahead

    @property
    def fork_safe(self) -> bool:
        return self._plan.fork_safe

    def begin(self, epoch: int) -> None:
        with self._plan.changed:
            if epoch != self._epoch:
                self._epoch, self._turn = epoch, 0
            self._plan.job.begin(epoch)
            self._plan.deal()

    @property
    def over(self) -> bool:
        ledger = self._plan.job.ledger
        return ledger.epoch > self._epoch or ledger.over

    def next_share(self, *, wait: bool = True) -> DealtShare | None:
        def found() -> DealtShare | None:
            held = self._plan.job.ledger.shares(self._name, self._turn)
            return next((share for share in held if share.epoch == self._epoch), None)

        with self._plan.changed:
            there = self._plan.changed.wait_for(lambda: found() or self.over or not wait, timeout=30.0)
            assert there, f"worker {self._name} waits in vain"
            share = found()
            if share is not None:
                self._turn = share.turn
            return share

    def finish(self, share: DealtShare, seconds: float = 0.0) -> bool:
        with self._plan.changed:
            lost = self._plan.job.finish(self._name, 1, [(share.turn, seconds)])
            if not lost:
                self._plan.finished.update((share.epoch, sample) for sample in share.indices.tolist())
            self.reports.append((share.turn, seconds))
            self._plan.deal()
            return not lost

    def save(self) -> bytes:
        return self._plan.job.save().encode()

    def restore(self, state: bytes) -> None:
        with self._plan.changed:
            self._plan.job.rewind(state.decode())
            self._epoch = -1
            self._plan.deal()
