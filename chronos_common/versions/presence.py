"""Presence: the volatile half of a run. Who is alive, who holds what, and may a version be published now?

The durable half (``RoundState``) says what a version contains; presence says when it is due. The rules:

*Effective quorum* = min(K, live workers that are not past their deadline), at least 1, over distinct
workers. *Deferred publish*: the quorum is met and no unexpired lease would exceed ``max_staleness``.
A worker is *active* until its deadline: the lease's while it works, one lease time after its last commit
otherwise. Nothing but a commit makes a new deadline: not a heartbeat, not a repeated message, not another
checkout of the same version, and a worker that let a lease run out is not counted on again before it
commits. So neither a dead, nor a hung, nor a failing worker delays anybody beyond its deadline.

A *grace window* holds back a version that has its quorum, for ``grace_seconds`` at most, while a worker that is
not past its deadline has yet to contribute to it. It opens when the quorum is first seen, once per version, and
runs while the version is deferred, so it never adds to a longer wait.

``immediate_publish`` leaves the deferral out, ``once_per_version`` lets a contributor wait for its version.

After a restart nothing is known of leases that the process before had given. Publishing then waits one
lease time, or until every known worker has announced what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from chronos_common.versions.config import LeaseConfig, RoundConfig
from chronos_common.versions.expectation import Expectation
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
        self._overdue: set[str] = set()
        self._unannounced: set[str] = set()
        self._hold_until = -math.inf
        self._complete_at: float | None = None
        self.timer = RoundTimer(leases, max_staleness=rounds.max_staleness)

    # --- members ---------------------------------------------------------------------------------

    @property
    def live(self) -> tuple[str, ...]:
        """Live members, sorted; a worker's position is its shard."""
        return tuple(sorted(self._active_until))

    def active(self, now: float) -> frozenset[str]:
        """Live members that are not past their deadline."""
        return frozenset(
            worker
            for worker, until in self._active_until.items()
            if now < until and worker not in self._overdue
        )

    def spoke(self, worker_id: str, now: float) -> None:
        """A sign of life: a worker that was not a live member is one now, active for one lease time.

        It gives nobody more time: a one-sided partition lets a worker repeat itself for ever.
        """
        if worker_id not in self._active_until:
            self._active_until[worker_id] = now + self.timer.lease_seconds()

    def stop_waiting(self, worker_id: str, now: float) -> None:
        """The worker no longer awaits a version and got none."""
        if worker_id in self._waiting:
            self._waiting.discard(worker_id)
            self._active_until[worker_id] = now + self.timer.lease_seconds()

    def waits(self, worker_id: str) -> None:
        """The worker awaits a version: it holds no lease, and nobody expects a commit of it meanwhile.

        :meth:`stop_waiting`, :meth:`admit` or :meth:`settle` ends the wait.
        """
        self._unannounced.discard(worker_id)
        self._table.release(worker_id)
        self._waiting.add(worker_id)
        self._active_until[worker_id] = math.inf

    def leave(self, worker_id: str) -> None:
        """The worker died, left, or works on another run: its lease ends."""
        self._unannounced.discard(worker_id)
        self._waiting.discard(worker_id)
        self._overdue.discard(worker_id)
        self._active_until.pop(worker_id, None)
        self._table.release(worker_id)

    # --- leases ----------------------------------------------------------------------------------

    def lease(self, worker_id: str) -> Lease | None:
        """The worker's lease, expired or not."""
        return self._table.get(worker_id)

    def leases_in_flight(self, now: float) -> int:
        """How many leases have not expired."""
        return self._table.in_flight(now)

    def admit(
        self, worker_id: str, state: RoundState[U], now: float, expected: Expectation | None = None
    ) -> Lease | MustWait:
        """Gives a lease on the current version, or says what the checkout has to wait for.

        With a prediction the lease lasts for its p95 and a quarter more, and the grace of a version lasts no longer
        than the p95 of those whom it waits for.

        Working again at an unchanged version never waits, unless the run says ``once_per_version``, and except
        under ``max_staleness = 0``: there a lease on the current version holds the next one back, and two
        workers that took turns would hold it back for ever. So a complete round grants nothing until it is
        published.
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
        if self._rounds.once_per_version and worker_id in state.contributors():
            return MustWait(
                reason="the worker has contributed to the next version, which is not published yet"
            )
        self._unannounced.discard(worker_id)
        self._waiting.discard(worker_id)
        held = self._table.get(worker_id)
        if held is not None and now < held.deadline and held.base == state.version:
            lease = held
        else:
            if held is not None and held.deadline <= now:
                self._overdue.add(worker_id)
            by = None if expected is None else now + expected.p95
            until = now + self.timer.lease_seconds(expected)
            lease = self._table.grant(worker_id, state.version, now, until, by)
        self._active_until[worker_id] = lease.deadline
        return lease

    def settle(self, worker_id: str, base: int, work: float, now: float) -> None:
        """A commit at ``base`` was accepted, with the share ``work`` of an inner loop: its worker has more time.

        The lease on that base has served, and so has one that ran out.
        """
        lease = self._table.get(worker_id)
        if lease is not None and lease.base == base:
            self.timer.worked(now - lease.granted, work)
        if lease is not None and (lease.base == base or lease.deadline <= now):
            self._table.release(worker_id)
            lease = None
        self._unannounced.discard(worker_id)
        self._waiting.discard(worker_id)
        self._overdue.discard(worker_id)
        self._active_until[worker_id] = now + self.timer.lease_seconds() if lease is None else lease.deadline

    # --- restart ---------------------------------------------------------------------------------

    def restarted(self, known: Iterable[str], now: float) -> None:
        """Starts after a restart: waits for the known workers, at most one lease time."""
        self._unannounced = set(known)
        self._hold_until = now + self.timer.lease_seconds()

    def announce(self, worker_id: str, base: int, state: RoundState[U], now: float) -> None:
        """A worker says which base it works on.

        Right after a restart that restores its lease, unless a commit at that base would be refused anyway;
        at any other time it is only a sign of presence, since a heartbeat must never extend a lease.
        """
        within_bound = state.version - self._rounds.max_staleness <= base <= state.version
        if within_bound and worker_id in self._unannounced and now < self._hold_until:
            self._table.grant(worker_id, base, now, self._hold_until)
            self._active_until[worker_id] = self._hold_until
        self._unannounced.discard(worker_id)
        self.spoke(worker_id, now)

    # --- publishing ------------------------------------------------------------------------------

    def effective_quorum(self, state: RoundState[U], now: float) -> int:
        """Distinct workers that the open round needs, as things stand.

        A worker that awaits a version counts only if it has contributed: it cannot while it waits.
        """
        wanted = (
            self._rounds.quorum if self._rounds.quorum is not None else math.ceil(len(self._active_until) / 2)
        )
        return max(1, min(wanted, len(self._able(state, now))))

    def due(self, state: RoundState[U], now: float) -> bool:
        """Whether the next version is to be published now; the first look at a complete round opens its grace."""
        if not self._complete(state, now):
            return False
        if self._complete_at is None:
            self._complete_at = now
        if self._unannounced and now < self._hold_until:
            return False
        if now < self._complete_at + self._rounds.grace_seconds and self._nearly_ready(state, now):
            return False
        if self._rounds.immediate_publish:
            return True
        # A lease at this base is within the bound now and would leave it with the next version; an older
        # one is lost already and holds nothing back.
        return state.version - self._rounds.max_staleness not in self._table.pinned(now)

    def published(self, now: float) -> None:
        """The open round became a version."""
        self.timer.published(now, self._complete_at)
        self._complete_at = None

    def _nearly_ready(self, state: RoundState[U], now: float) -> bool:
        """Whether somebody has yet to contribute who can, and is not beyond what was predicted for it."""
        for worker_id in self._able(state, now) - state.contributors():
            lease = self._table.get(worker_id)
            if lease is None or lease.expected_by is None or now < lease.expected_by:
                return True
        return False

    def _able(self, state: RoundState[U], now: float) -> frozenset[str]:
        """Who has contributed to the open round, or may still, and is not past its deadline."""
        return self.active(now) - (self._waiting - state.contributors())

    def _complete(self, state: RoundState[U], now: float) -> bool:
        return bool(state.buffer) and len(state.contributors()) >= self.effective_quorum(state, now)

    def next_event(self, now: float) -> float | None:
        """When time alone may change what :meth:`due` says, or ``None``."""
        times = [until for until in self._active_until.values() if now < until < math.inf]
        if self._unannounced and now < self._hold_until:
            times.append(self._hold_until)
        if self._complete_at is not None and now < self._complete_at + self._rounds.grace_seconds:
            times.append(self._complete_at + self._rounds.grace_seconds)
            times += [by for by in self._table.expected_ends() if now < by]
        deadline = self._table.next_deadline(now)
        if deadline is not None:
            times.append(deadline)
        return min(times, default=None)
