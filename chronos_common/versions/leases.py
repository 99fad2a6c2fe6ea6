"""Leases: who works on which version, and until when that may hold anybody up.

Leases are volatile: they steer *when* a version is published, never what it contains, so they are not
journalled and a restarted coordinator begins without them (see ``Presence``). Every method takes ``now``
in seconds of the caller's monotonic clock.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass

from chronos_common.versions.config import LeaseConfig
from chronos_common.versions.expectation import Expectation


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One worker's right to hold publishing back for the sake of its base version, from ``granted`` on."""

    worker_id: str
    base: int
    granted: float
    deadline: float
    expected_by: float | None = None
    """When it is all but certain to be over, if that was predicted; it may last until the deadline."""


class LeaseTable:
    """At most one lease per worker: a new checkout replaces the one before.

    So a checkout whose answer was lost never pins a version that nobody works on.
    """

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}

    def grant(
        self, worker_id: str, base: int, now: float, deadline: float, expected_by: float | None = None
    ) -> Lease:
        """Gives a lease, in place of the worker's earlier one."""
        lease = Lease(worker_id=worker_id, base=base, granted=now, deadline=deadline, expected_by=expected_by)
        self._leases[worker_id] = lease
        return lease

    def get(self, worker_id: str) -> Lease | None:
        """The worker's lease, expired or not."""
        return self._leases.get(worker_id)

    def release(self, worker_id: str) -> None:
        """Ends the worker's lease, if it has one."""
        self._leases.pop(worker_id, None)

    def pinned(self, now: float, *, but: str | None = None) -> frozenset[int]:
        """Base versions with an unexpired lease of any worker, or of any but one."""
        return frozenset(
            lease.base for lease in self._leases.values() if now < lease.deadline and lease.worker_id != but
        )

    def expected_ends(self) -> list[float]:
        """When predicted leases are all but certain to be over."""
        return [lease.expected_by for lease in self._leases.values() if lease.expected_by is not None]

    def in_flight(self, now: float) -> int:
        """How many leases have not expired."""
        return sum(now < lease.deadline for lease in self._leases.values())

    def next_deadline(self, now: float) -> float | None:
        """The earliest deadline still to come, or ``None``."""
        return min((lease.deadline for lease in self._leases.values() if now < lease.deadline), default=None)


WORK_WINDOW = 64
"""Commits over which the time of a whole inner loop is estimated."""

FULL_WORK_MARGIN = 1.25
"""A lease is at least this many times what the median worker needs for a whole inner loop."""


class RoundTimer:
    """Times rounds and work, and derives lease lengths from their medians.

    A round lasts until it has its quorum. How long its version was then deferred does not count: that is what the
    leases of the slow took, and their next leases would be made of it, however long they are.

    Rounds alone would not do: workers that stop at their deadline make rounds shorter, shorter rounds make
    shorter leases, and with a small quorum both shrink until only scraps of work are committed.
    """

    def __init__(self, config: LeaseConfig, *, max_staleness: int) -> None:
        self._config = config
        self._factor = max_staleness + 1
        self._durations: deque[float] = deque(maxlen=config.window)
        self._full_work: deque[float] = deque(maxlen=WORK_WINDOW)
        self._last_publish: float | None = None

    def published(self, now: float, complete_at: float | None = None) -> None:
        """Notes a publish; one round is the time from the one before until ``complete_at``, by default until now."""
        if self._last_publish is not None:
            self.observe((now if complete_at is None else complete_at) - self._last_publish)
        self._last_publish = now

    def observe(self, seconds: float) -> None:
        """Adds one round's duration, for example from a journal; a clock that stepped back counts as 0."""
        self._durations.append(max(0.0, seconds))

    def worked(self, seconds: float, work: float) -> None:
        """Adds a commit that took ``seconds`` from its checkout on for a share ``work`` of the inner loop."""
        self._full_work.append(max(0.0, seconds) / work)

    def lease_seconds(self, expected: Expectation | None = None) -> float:
        """Length of a lease given now, in seconds; with a prediction, of its p95 and the margin."""
        if expected is not None:
            return self._clamped(FULL_WORK_MARGIN * expected.p95)
        if not self._durations:
            return self._config.initial_seconds
        wanted = self._factor * statistics.median(self._durations)
        if self._full_work:
            wanted = max(wanted, FULL_WORK_MARGIN * statistics.median(self._full_work))
        return self._clamped(wanted)

    def _clamped(self, seconds: float) -> float:
        return min(max(seconds, self._config.min_seconds), self._config.max_seconds)
