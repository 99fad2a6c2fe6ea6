"""The round machine in one process: non-blocking checkouts and commits, without a coordinator or a disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from chronos_common.errors import ConfigurationError
from chronos_common.versions.config import LeaseConfig, RoundConfig
from chronos_common.versions.presence import MustWait, Presence
from chronos_common.versions.rounds import (
    HYPERGRADIENT,
    Accepted,
    Answer,
    Commit,
    Duplicate,
    RoundState,
    join,
    judge,
    record,
)
from chronos_common.versions.shares import advance
from chronos_common.versions.tracker import VersionTracker

U = TypeVar("U")
V = TypeVar("V")

INCARNATION = 1


@dataclass(frozen=True, kw_only=True)
class Checkout(Generic[V]):
    """A version and its value, to be worked on until ``deadline`` (seconds of the queue's clock)."""

    version: int
    value: V
    deadline: float


class BoundedVersionQueue(Generic[V, U]):
    """Versions of a value that several workers of one process update with bounded staleness.

    Args:
        value: version 0.
        publish: makes the next value from the current one and the round's commits, in order of arrival; the
            merge is its business.
        rounds: staleness, quorum and in-flight rules.
        leases: lease times.
        kind: ``"hypergradient"`` or ``"parameter_delta"``.
        check: examines an update and raises a ``PayloadError`` to refuse it.
        clock: monotonic seconds.

    It never blocks: a checkout that must wait says so, and :meth:`tick` lets deadlines pass. The same rules
    run in the coordinator; this class is their face for simulations and single-process use.

    Raises:
        ConfigurationError: ``rounds`` chooses a merge or a weighting, which ``publish`` would not hear of.
    """

    def __init__(
        self,
        value: V,
        publish: Callable[[V, Sequence[Accepted[U]]], V],
        *,
        rounds: RoundConfig | None = None,
        leases: LeaseConfig | None = None,
        kind: str = HYPERGRADIENT,
        check: Callable[[U], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = rounds if rounds is not None else RoundConfig()
        for name in ("merge", "weighting"):
            chosen, default = getattr(self._config, name), getattr(RoundConfig, name)
            if chosen != default:
                raise ConfigurationError(
                    f"{name} is {chosen!r}, but this queue merges by the function it was given; leave it at "
                    f"{default!r}"
                )
        self._value = value
        self._publish = publish
        self._kind = kind
        self._check = check
        self._clock = clock
        self._state: RoundState[U] = RoundState()
        self._presence = Presence(self._config, leases if leases is not None else LeaseConfig())
        self.tracker = VersionTracker()

    @property
    def version(self) -> int:
        """Newest published version."""
        return self._state.version

    @property
    def value(self) -> V:
        """Its value."""
        return self._value

    def checkout(self, worker_id: str) -> Checkout[V] | MustWait:
        """Hands out the newest version under a lease, or says why it cannot."""
        self.tick()
        lease = self._presence.admit(worker_id, self._state, self._clock())
        if isinstance(lease, MustWait):
            return lease
        self._state = join(self._state, worker_id)
        return Checkout(version=self.version, value=self._value, deadline=lease.deadline)

    def commit(
        self,
        worker_id: str,
        base: int,
        update: U | None,
        *,
        work: float = 1.0,
        seq: int | None = None,
        prev_applied: int | None = None,
    ) -> Answer:
        """Commits an update (``None`` skips) and publishes when the round is complete.

        ``seq`` and ``prev_applied`` follow the worker's chain by themselves unless given.

        Raises:
            ChronosError: as :func:`chronos_common.versions.judge`; nothing changes then.
        """
        self.tick()
        chain = self._state.chains.get(worker_id)
        last = chain.last_applied if chain is not None else 0
        commit = Commit(
            worker_id=worker_id,
            incarnation=INCARNATION,
            seq=last + 1 if seq is None else seq,
            prev_applied=last if prev_applied is None else prev_applied,
            base=base,
            work=work,
            update=update,
        )
        decision = judge(
            self._state,
            commit,
            self._config,
            current_incarnation=INCARNATION,
            kind=self._kind,
            check=self._check,
        )
        if isinstance(decision, Duplicate):
            return decision.answer
        self.tracker.observe(base)
        self._state = record(self._state, decision)
        self._presence.settle(worker_id, base, work, self._clock())
        self.tick()
        return Answer(staleness=decision.staleness, weight=decision.weight)

    def next_event(self) -> float | None:
        """When a :meth:`tick` may publish although nothing else happens, or ``None``."""
        return self._presence.next_event(self._clock())

    def leave(self, worker_id: str) -> None:
        """Ends a worker's membership; nobody waits for it any more."""
        self._presence.leave(worker_id)
        self.tick()

    def tick(self) -> None:
        """Publishes if the passing of time has completed the round."""
        now = self._clock()
        if not self._presence.due(self._state, now):
            return
        if any(accepted.commit.update is not None for accepted in self._state.buffer):
            self._value = self._publish(self._value, self._state.buffer)
        self._state = advance(self._state, self._config, self._kind)
        self.tracker.advance()
        self._presence.published(now)
