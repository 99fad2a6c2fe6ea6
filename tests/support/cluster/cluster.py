"""The whole simulated cluster: what its driver may let happen, and the end that every history must reach."""

from __future__ import annotations

import math
from collections.abc import Callable

from chronos_common.engine import ACTIVE, CheckoutQuery, RunConfig, from_parts, replay, state_digest
from tests.support.cluster.config import RUN
from tests.support.cluster.coordinator import Coordinator
from tests.support.cluster.message import Message
from tests.support.cluster.process import Process, update_of


class Cluster(Coordinator):
    """See the package. ``workers`` are the names that exist."""

    def __init__(self, config: RunConfig, workers: int = 4) -> None:
        super().__init__(config, [f"w{i}" for i in range(workers)], update_of(0, config))
        self.config = config
        self.processes: list[Process] = []
        self.counter = 0

    def able(self) -> list[Process]:
        return [p for p in self.processes if p.alive and not p.hung and p.outbox is not None]

    def _send(self, process: Process, handle: Callable[[], None]) -> None:
        self.wire.append(Message(True, process, handle))

    def spawn(self, index: int) -> Process:
        """Starts a process; an older one of that name may live on, as after a partition."""
        self.counter += 1
        name = self.names[index % len(self.names)]
        process = Process(name, f"instance-{self.counter}", self.config, self.model)
        self.processes.append(process)
        self.register(process)
        return process

    def register(self, process: Process) -> None:
        self._send(process, lambda: self.on_register(process))

    def checkout(self, process: Process, *, newer: bool = False, wait: float = 5.0) -> None:
        known = process.base
        minimum = known + 1 if newer and known is not None else 0
        query = CheckoutQuery(
            run_id=RUN,
            worker_id=process.worker,
            incarnation=process.incarnation,
            known=known,
            min_version=minimum,
            wait_seconds=wait,
        )
        process.awaiting = True
        self._send(process, lambda: self.on_checkout(process, query))

    def commit(self, process: Process, *, work: float = 1.0, what: str = "update") -> None:
        """Prepares and sends a commit; a failing process garbles what it sends.

        Args:
            process: whose.
            work: its work.
            what: "update", "skip", or "hold" for a skip whose update goes to the residual.
        """
        if process.base is None:
            return
        self.counter += 1
        update = update_of(self.counter, self.config)
        if what == "hold":
            process.hold(update)
        query = process.prepare(update if what == "update" else None, work)
        self.resend(process, query.seq)

    def resend(self, process: Process, seq: int) -> None:
        query = process.queries[seq]
        self._send(process, lambda: self.on_commit(process, query))

    def heartbeat(self, process: Process) -> None:
        base = process.base
        self._send(process, lambda: self.on_heartbeat(process, base))

    def say_goodbye(self, process: Process) -> None:
        """A process deregisters and ends; what it had not been told about is lost with it."""
        process.alive = False
        self._send(process, lambda: self.on_goodbye(process))

    def deliver(self, index: int, *, repeat: bool = False, flush: bool = True) -> None:
        """Delivers the message at a place in the wire, which need not be the oldest; a dead process hears nothing."""
        message = self.wire[index % len(self.wire)]
        if not repeat:
            self.wire.remove(message)
        if message.to_coordinator:
            message.handle()
            if flush:
                self.flush()
        elif message.process.alive and not message.process.hung:
            message.handle()

    def drop(self, index: int) -> None:
        self.wire.pop(index % len(self.wire))

    def pass_time(self, seconds: float) -> None:
        """The clock moves on, or jumps."""
        self.now += seconds
        self.settle_time()
        self.flush()

    # --- the end -------------------------------------------------------------------------------------

    def heal(self) -> None:
        """From here on nothing is lost and everything arrives in order; the hung stay hung, the failing fail."""
        self.flush()
        while self.wire:
            self.deliver(0)
        for process in self.processes:
            process.awaiting = False  # its call has timed out by now
        if not any(not p.failing and self.is_current(p) for p in self.able()):
            self.spawn(0)
            while self.wire:
                self.deliver(0)

    def run_healthy(self, seconds: int, enough: float = math.inf) -> int:
        """Lets every process work, a second for an inner loop; returns the versions since the first second.

        Args:
            seconds: how long, at most.
            enough: so many of those versions.
        """
        first = self.engine.state.version
        for second in range(seconds):
            for process in self.processes:
                if (
                    process.alive
                    and process.outbox is not None
                    and second % 2 == 0
                    and self.is_current(process)
                ):
                    self.heartbeat(process)
            for process in [p for p in self.able() if self.is_current(p)]:
                late = second == 0 and self.names.index(process.worker) % 2 == 1  # nobody works in step
                if process.awaiting or late:
                    continue
                if process.busy:
                    process.busy = False
                    self.commit(process)
                else:
                    process.busy = True
                    newer = process.worker == self.names[1] and process.last_was_applied()
                    self.checkout(process, newer=newer)
            while self.wire:
                self.deliver(0)
            self.pass_time(1.0)
            first = self.engine.state.version if second == 0 else first
            if self.engine.state.version - first >= enough:
                break
        return self.engine.state.version - first

    def finish(self) -> None:
        """Faults stop: versions advance, every commit is resolved to one side, every ledger balances."""
        self.heal()
        self.run_healthy(10)
        # Somebody who fails again and again may hold each version back by one lease, but no longer.
        least = 1 if any(p.failing for p in self.able()) else 2
        reached = self.run_healthy(8, enough=least)
        if self.engine.state.status == ACTIVE:
            assert reached >= least, "the living wait for the dead"
            assert not [p for p in self.parked if p.deadline <= self.now]
        for process in [p for p in self.able() if self.is_current(p)]:
            assert process.outbox is not None
            for commit in process.outbox.unresolved:
                self.resend(process, commit.seq)
            while self.wire:
                self.deliver(0)
            assert not process.outbox.unresolved, "a commit was never resolved"
        for process in self.processes:
            process.check_truth()
        state = replay(from_parts(*parts) for parts in self.journal)
        assert state_digest(state) == state_digest(self.engine.state)
        assert state.version == self.model.version
        account = state.account
        assert account == self.engine.state.account
        assert account.ledger.imbalance(pending=account.open_mass) <= 1e-9, (
            "the run's ledger does not balance"
        )
