"""Presence: the volatile half of a run. Who is alive, who holds what, and may a version be published now?

The durable half (``RoundState``) says what a version contains; presence says when it is due. The rules:

*Effective quorum* = min(K, live workers that are not past their deadline), at least 1, over distinct
workers. *Deferred publish*: the quorum is met and no unexpired lease would exceed ``max_staleness``.
A worker is *active* until its deadline: the lease's while it works, one lease time after its last word
otherwise. So neither a dead nor a hung worker delays anybody beyond its deadline, heartbeats or not.

After a restart nothing is known of leases that the process before had given. Publishing then waits one
lease time, or until every known worker has announced what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from chronos_common.versions.config import LeaseConfig, RoundConfig
from chronos_common.versions.leases import Lease, LeaseTable, RoundTimer
from chronos_common.versions.rounds import RoundState

U = TypeVar("U")


@dataclass(frozen=True, kw_only=True)
class MustWait:
    """No version can be handed out now; ``reason`` says what the checkout waits for."""

    reason: str


class Presence:
    """Live members, leases and round times of one run."""

    def __init__(self, rounds: RoundConfig, leases: LeaseConfig) -> None:
        self._rounds = rounds
        self._table = LeaseTable()
        self._active_until: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._unannounced: set[str] = set()
        self._hold_until = -math.inf
        self.timer = RoundTimer(leases, max_staleness=rounds.max_staleness)

    # --- members ---------------------------------------------------------------------------------

    @property
    def live(self) -> tuple[str, ...]:
        """Live members, sorted; a worker's position is its shard."""
        return tuple(sorted(self._active_until))

    def active(self, now: float) -> frozenset[str]:
        """Live members that are not past their deadline."""
        return frozenset(worker for worker, until in self._active_until.items() if now < until)

    def spoke(self, worker_id: str, now: float) -> None:
        """The worker said something about this run: it is a live member, active for one lease time.

        A lease's own deadline stands: talking does not extend it.
        """
        self._unannounced.discard(worker_id)
        self._waiting.discard(worker_id)
        lease = self._table.get(worker_id)
        until = lease.deadline if lease is not None else now + self.timer.lease_seconds()
        self._active_until[worker_id] = until

    def waits(self, worker_id: str) -> None:
        """The worker awaits a version: it holds no lease, and nobody expects a commit of it meanwhile.

        :meth:`spoke` or :meth:`admit` ends the wait.
        """
        self._unannounced.discard(worker_id)
        self._table.release(worker_id)
        self._waiting.add(worker_id)
        self._active_until[worker_id] = math.inf

    def leave(self, worker_id: str) -> None:
        """The worker died, left, or works on another run: its lease ends."""
        self._unannounced.discard(worker_id)
        self._waiting.discard(worker_id)
        self._active_until.pop(worker_id, None)
        self._table.release(worker_id)

    # --- leases ----------------------------------------------------------------------------------

    def lease(self, worker_id: str) -> Lease | None:
        """The worker's lease, expired or not."""
        return self._table.get(worker_id)

    def admit(self, worker_id: str, state: RoundState[U], now: float) -> Lease | MustWait:
        """Gives a lease on the current version, or says what the checkout has to wait for.

        Working again at an unchanged version never waits, except under ``max_staleness = 0``: there a lease
        on the current version holds the next one back, and two workers that took turns would hold it back
        for ever. So a complete round grants nothing until it is published.
        """
        others = self._table.pinned(now, but=worker_id)
        if len(others | {state.version}) > self._rounds.max_in_flight:
            return MustWait(
                reason=f"max_in_flight = {self._rounds.max_in_flight} distinct versions are worked on"
            )
        if self._rounds.max_staleness == 0 and self._complete(state, now):
            return MustWait(
                reason="the round is complete and waits for the workers that still hold this version"
            )
        self._unannounced.discard(worker_id)
        self._waiting.discard(worker_id)
        lease = self._table.grant(worker_id, state.version, now + self.timer.lease_seconds())
        self._active_until[worker_id] = lease.deadline
        return lease

    def settle(self, worker_id: str, base: int, now: float) -> None:
        """A commit at ``base`` arrived: the lease on it has served."""
        lease = self._table.get(worker_id)
        if lease is not None and lease.base == base:
            self._table.release(worker_id)
        self.spoke(worker_id, now)

    # --- restart ---------------------------------------------------------------------------------

    def restarted(self, known: Iterable[str], now: float) -> None:
        """Starts after a restart: waits for the known workers, at most one lease time."""
        self._unannounced = set(known)
        self._hold_until = now + self.timer.lease_seconds()

    def announce(self, worker_id: str, base: int, now: float) -> None:
        """A worker says which base it works on.

        Right after a restart that restores its lease; at any other time it is only a sign of presence,
        since a heartbeat must never extend a lease.
        """
        if worker_id in self._unannounced and now < self._hold_until:
            self._table.grant(worker_id, base, self._hold_until)
        if worker_id in self._unannounced or worker_id not in self._active_until:
            self.spoke(worker_id, now)

    # --- publishing ------------------------------------------------------------------------------

    def effective_quorum(self, state: RoundState[U], now: float) -> int:
        """Distinct workers that the open round needs, as things stand.

        A worker that awaits a version counts only if it has contributed: it cannot while it waits.
        """
        able = self.active(now) - (self._waiting - state.contributors())
        wanted = (
            self._rounds.quorum if self._rounds.quorum is not None else math.ceil(len(self._active_until) / 2)
        )
        return max(1, min(wanted, len(able)))

    def due(self, state: RoundState[U], now: float) -> bool:
        """Whether the next version is to be published now."""
        if not self._complete(state, now) or (self._unannounced and now < self._hold_until):
            return False
        # A lease at this base is within the bound now and would leave it with the next version; an older
        # one is lost already and holds nothing back.
        return state.version - self._rounds.max_staleness not in self._table.pinned(now)

    def _complete(self, state: RoundState[U], now: float) -> bool:
        return bool(state.buffer) and len(state.contributors()) >= self.effective_quorum(state, now)

    def next_event(self, now: float) -> float | None:
        """When time alone may change what :meth:`due` says, or ``None``."""
        times = [until for until in self._active_until.values() if now < until < math.inf]
        if self._unannounced and now < self._hold_until:
            times.append(self._hold_until)
        deadline = self._table.next_deadline(now)
        if deadline is not None:
            times.append(deadline)
        return min(times, default=None)
