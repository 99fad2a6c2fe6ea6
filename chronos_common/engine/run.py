"""One run, decided: commands in, answers and events out. No I/O, no clock of its own, no threads.

The caller owns durability. It runs commands against the engine, takes the events they produced, makes them
durable, and only then lets the answers out. When it cannot, it throws the engine away and builds a new one
from the journal: the engine's state runs ahead of the disk by at most one such batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from chronos_common.codec import decode, dense_bytes, encode
from chronos_common.engine.config import RunConfig
from chronos_common.engine.events import (
    ACTIVE,
    FINISHED,
    STOPPED,
    CommitRecord,
    Ended,
    Event,
    Joined,
)
from chronos_common.engine.levels import level_staleness
from chronos_common.engine.pacing import Pacer
from chronos_common.engine.remembering import FORBIDDEN, STORED, require_memory, to_remember
from chronos_common.engine.state import RunState, accept, fold, publish
from chronos_common.engine.views import CheckoutAnswer, CheckoutQuery, CommitAnswer, CommitQuery, VersionPart
from chronos_common.errors import (
    DivergenceError,
    IncarnationSupersededError,
    InvalidRequestError,
    NonFiniteError,
    RunNotActiveError,
    UnknownVersionError,
)
from chronos_common.outer.memory import ContinuumMemory
from chronos_common.tensors import Arrays, require_finite
from chronos_common.versions import (
    PREDICTED,
    Answer,
    Commit,
    Duplicate,
    MustWait,
    Presence,
    judge,
    stored_answer,
)


@dataclass(frozen=True, kw_only=True)
class EngineLimits:
    """What the engine admits, in bytes of one commit's payload, samples and metrics of one commit."""

    max_payload_bytes: int = 1 << 30
    max_metrics: int = 1000


class RunEngine:
    """Decides for one run.

    Args:
        run_id: identity, for answers and errors.
        state: where the journal ends.
        limits: what is admitted.
    """

    def __init__(self, run_id: str, state: RunState, *, limits: EngineLimits | None = None) -> None:
        self.run_id = run_id
        self.state = state
        self.presence = Presence(state.config.rounds, state.config.leases)
        self.pacer = Pacer(proportional=state.config.rounds.pacing == PREDICTED)
        self._limits = limits if limits is not None else EngineLimits()
        self._events: list[Event] = []
        self._dense_bytes = dense_bytes(state.config.specs)
        self._snapshot: tuple[str, bytes] = ("", b"")

    @property
    def config(self) -> RunConfig:
        """The run's definition."""
        return self.state.config

    def restarted(self, now: float, round_seconds: Iterable[float] = ()) -> None:
        """To be called once after a restart: waits for the known workers before it publishes.

        Args:
            now: monotonic seconds.
            round_seconds: durations of the newest rounds, for the length of leases.
        """
        for seconds in round_seconds:
            self.presence.timer.observe(seconds)
        self.presence.restarted(self.state.rounds.chains, now)

    def take_events(self) -> tuple[Event, ...]:
        """The events since the last call, in order; the caller makes them durable."""
        events, self._events = tuple(self._events), []
        return events

    # --- commands --------------------------------------------------------------------------------

    def checkout(self, query: CheckoutQuery, now: float) -> CheckoutAnswer | MustWait:
        """Hands out the newest version, under a lease if a worker asks.

        A worker that must wait is expected nowhere meanwhile, which may be what the open round waited for.

        Raises:
            RunNotActiveError: a worker asks, and the run has ended.
            IncarnationSupersededError: a newer process of the worker has committed.
            UnknownVersionError: the client claims to hold a version that does not exist.
        """
        self.tick(now)
        answer = self._try_checkout(query, now)
        if isinstance(answer, MustWait) and query.worker_id:
            before = self.state
            self.tick(now)
            if self.state is not before and self.state.status == ACTIVE:
                return self._try_checkout(query, now)
        return answer

    def stop_waiting(self, worker_id: str, now: float) -> None:
        """A checkout that waited has ended without a version."""
        self.presence.stop_waiting(worker_id, now)

    def commit(self, query: CommitQuery, current_incarnation: int, now: float) -> CommitAnswer:
        """Decides on a commit and publishes the next version when it completes the round.

        Raises:
            ChronosError: the typed refusal; nothing has changed then.
        """
        self.tick(now)
        update: Arrays | None = None

        def check(payload: bytes) -> None:
            nonlocal update
            update = self._examine(query, payload)

        commit = Commit(
            worker_id=query.worker_id,
            incarnation=query.incarnation,
            seq=query.seq,
            prev_applied=query.prev_applied,
            base=query.base,
            work=query.work,
            update=query.payload,
        )
        if stored_answer(self.state.rounds, commit) is None:
            self._require_active()
        decision = judge(
            self.state.rounds,
            commit,
            self.config.rounds,
            current_incarnation=current_incarnation,
            kind=self.config.work.kind,
            check=check,
            level_staleness=level_staleness(self.state.flushes, query.base),
        )
        if isinstance(decision, Duplicate):
            if query.incarnation == current_incarnation:
                self.presence.spoke(query.worker_id, now)
            return self._commit_answer(query, decision.answer, duplicate=True)
        self._require_header(query)
        record = CommitRecord(
            worker_id=query.worker_id,
            incarnation=query.incarnation,
            seq=query.seq,
            prev_applied=query.prev_applied,
            base=query.base,
            work=query.work,
            payload=query.payload,
            samples=query.samples,
            tasks=query.tasks,
            metrics=dict(query.metrics),
            timing=dict(query.timing),
            residual_lost=query.residual_lost,
            staleness=decision.staleness,
            weight=decision.weight,
            level_weights=decision.level_weights,
        )
        self.state = accept(self.state, record, update)
        self._events.append(record)
        lease = self.presence.lease(query.worker_id)
        if lease is not None and lease.base == query.base:
            self.pacer.observe(query.worker_id, query.work, now - lease.granted)
        self.presence.settle(query.worker_id, query.base, query.work, now)
        self.tick(now)
        answer = Answer(staleness=decision.staleness, weight=decision.weight)
        return self._commit_answer(query, answer, duplicate=False)

    def announce(self, worker_id: str, base: int, now: float) -> None:
        """A heartbeat says which base a member works on."""
        if worker_id in self.state.rounds.chains and self.state.status == ACTIVE:
            self.tick(now)
            self.presence.announce(worker_id, base, self.state.rounds, now)
            self.tick(now)

    def leave(self, worker_id: str, now: float) -> None:
        """A worker died, left, was superseded, or works on another run."""
        self.tick(now)
        self.presence.leave(worker_id)
        self.pacer.leave(worker_id)
        self.tick(now)

    def remember(
        self,
        values: Arrays,
        gradient: Arrays | None,
        *,
        loss: float = 0.0,
        radius: float = 0.0,
        source: str = "",
    ) -> ContinuumMemory:
        """Stores what was measured elsewhere, or without a gradient, marks λ as failed; the memory after it.

        Raises:
            RunNotActiveError, MemoryOffError: it cannot be added to.
            PayloadError, InvalidRequestError: what is told cannot be taken; nothing has changed then.
        """
        self._require_active()
        memory = require_memory(self.run_id, self.state.memory)
        if gradient is None:
            memory.forbid(values, radius=radius or None)
        else:
            memory.store(values, gradient, loss)
        what = FORBIDDEN if gradient is None else STORED
        told = to_remember(
            what, values, gradient, loss=loss, radius=radius, source=source, version=self.state.version
        )
        self._emit(told)
        return require_memory(self.run_id, self.state.memory)

    def stop(self, reason: str) -> None:
        """Ends the run; an ended run stays as it is."""
        if self.state.status == ACTIVE:
            self._emit(Ended(status=STOPPED, reason=reason))

    def tick(self, now: float) -> None:
        """Lets time pass: publishes the next version if it is due."""
        if self.state.status != ACTIVE or not self.presence.due(self.state.rounds, now):
            return
        try:
            event, self.state = publish(self.state)
        except DivergenceError as error:
            self._emit(Ended(status=STOPPED, reason=str(error)))
            return
        self._events.append(event)
        self.presence.published(now)
        if self.state.version == self.config.max_versions:
            self._emit(Ended(status=FINISHED, reason="reached max_versions"))

    # --- parts -----------------------------------------------------------------------------------

    def _try_checkout(self, query: CheckoutQuery, now: float) -> CheckoutAnswer | MustWait:
        version = self.state.version
        if query.known is not None and not 0 <= query.known <= version:
            raise UnknownVersionError(
                f"version {query.known} is unknown; the newest of run {self.run_id!r} is {version}: drop it and "
                "check out without it",
                version=version,
            )
        if not query.worker_id:
            if query.min_version > version and self.state.status == ACTIVE:
                return self._too_early(query)
            return self._checkout_answer(query, 0.0)
        self._require_active()
        self._require_newest(query)
        self.pacer.introduce(query.worker_id, query.typical_seconds)
        share, expected = 1.0, None
        if self.config.rounds.pacing == PREDICTED:
            share = self.pacer.share(query.worker_id, {*self.presence.live, query.worker_id})
            expected = self.pacer.expect(query.worker_id, share)
        admitted = (
            self._too_early(query)
            if query.min_version > version
            else self.presence.admit(query.worker_id, self.state.rounds, now, expected)
        )
        self._join(query.worker_id)
        if isinstance(admitted, MustWait):
            self.presence.waits(query.worker_id)
            return admitted
        return self._checkout_answer(query, admitted.deadline - now, share)

    def _too_early(self, query: CheckoutQuery) -> MustWait:
        return MustWait(
            reason=f"version {query.min_version} is not published yet; the newest is {self.state.version}"
        )

    def _emit(self, event: Event) -> None:
        self.state = fold(self.state, event)
        self._events.append(event)

    def _join(self, worker_id: str) -> None:
        if worker_id not in self.state.rounds.chains:
            self._emit(Joined(worker_id=worker_id))

    def _require_active(self) -> None:
        if self.state.status != ACTIVE:
            raise RunNotActiveError(
                f"run {self.run_id!r} has {self.state.status}: {self.state.reason}",
                run_id=self.run_id,
                status=self.state.status,
            )

    def _require_newest(self, query: CheckoutQuery) -> None:
        """The caller knows who is current; but a checkout may have waited since it looked.

        The chain's end would tell a superseded process that a commit of the newer one was its own.
        """
        chain = self.state.rounds.chains.get(query.worker_id)
        if chain is not None and query.incarnation < chain.incarnation:
            raise IncarnationSupersededError(
                f"incarnation {query.incarnation} of worker {query.worker_id!r} is not the current one; "
                "a newer process owns this worker id: stop this one or rename it",
                worker_id=query.worker_id,
                incarnation=query.incarnation,
                current=chain.incarnation,
            )

    def _examine(self, query: CommitQuery, payload: bytes) -> Arrays:
        values = decode(payload, max_bytes=self._limits.max_payload_bytes, specs=self.config.specs)
        require_finite(values, f"the update {query.seq} of worker {query.worker_id!r}")
        return values

    def _require_header(self, query: CommitQuery) -> None:
        if query.kind != self.config.work.kind:
            raise InvalidRequestError(
                f"the commit carries a {query.kind}, but run {self.run_id!r} takes {self.config.work.kind}s",
                field="kind",
            )
        if len(query.metrics) > self._limits.max_metrics:
            raise InvalidRequestError(
                f"{len(query.metrics)} metrics in one commit; at most {self._limits.max_metrics}",
                field="metrics",
            )
        for name, value in query.metrics.items():
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"metric {name!r} is {value}; leave out what cannot be measured", field="metrics"
                )
        for name, value in query.timing.items():
            if not (math.isfinite(value) and value >= 0.0):
                raise InvalidRequestError(f"{name} is {value}; it must be 0 or more seconds", field="timing")

    def _checkout_answer(
        self, query: CheckoutQuery, work_seconds: float, share: float = 1.0
    ) -> CheckoutAnswer:
        chain = self.state.rounds.chains.get(query.worker_id)
        live = self.presence.live
        shard = (live.index(query.worker_id), len(live)) if query.worker_id in live else (0, 1)
        not_modified = query.known == self.state.version
        return CheckoutAnswer(
            run_id=self.run_id,
            version=self.state.version,
            digest=self.state.digest,
            not_modified=not_modified,
            parts=() if not_modified else self._parts(query.known),
            work_seconds=work_seconds,
            work_share=share,
            shard=shard,
            last_applied=chain.last_applied if chain is not None else 0,
            applied_by=chain.incarnation if chain is not None else 0,
            status=self.state.status,
            dense_bytes=self._dense_bytes,
        )

    def _parts(self, known: int | None) -> tuple[VersionPart, ...]:
        """What leads from the version that the client holds to the newest."""
        deltas = None if known is None else self.state.relay.since(known)
        if deltas is None:
            whole = VersionPart(version=self.state.version, is_delta=False, payload=self._whole())
            return (whole,)
        return tuple(VersionPart(version=d.version, is_delta=True, payload=d.payload) for d in deltas)

    def _whole(self) -> bytes:
        """The newest version as a snapshot, encoded once for all who ask."""
        if self.state.snapshot is not None:
            return self.state.snapshot
        if self._snapshot[0] != self.state.digest:
            self._snapshot = (self.state.digest, encode("identity", self.state.published))
        return self._snapshot[1]

    def _commit_answer(self, query: CommitQuery, answer: Answer, *, duplicate: bool) -> CommitAnswer:
        return CommitAnswer(
            staleness=answer.staleness,
            weight=answer.weight,
            version=self.state.version,
            duplicate=duplicate,
            last_applied=self.state.rounds.chains[query.worker_id].last_applied,
            status=self.state.status,
            dense_bytes=self._dense_bytes,
        )
