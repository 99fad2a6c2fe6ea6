"""A coordinator in memory for tests of the worker: the real engine and fleet, and a journal that survives restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chronos_common.codec import decode, encode
from chronos_common.engine import (
    ACTIVE,
    CheckoutQuery,
    CommitQuery,
    CommitRecord,
    Created,
    Event,
    RunConfig,
    RunEngine,
    RunView,
    WorkSpec,
    from_parts,
    replay,
    start,
    to_parts,
)
from chronos_common.errors import (
    RunNotFoundError,
    WaitExpiredError,
)
from chronos_common.fleet import Fleet, FleetConfig, Registration
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.versions import LeaseConfig, MustWait, RoundConfig
from chronos_common.wire import CheckoutResult, CommitResult, RegisterResult
from tests.support.fake_time import LONG_SECONDS, FakeTime

RUN = "run"
SIZE = 96
"""Entries of the outer vector: one for each update that a test may make."""


def run_config(**changes: Any) -> RunConfig:
    """One float64 vector, plain gradient descent, every commit a version, decay 1/2."""
    settings: dict[str, Any] = {
        "parameters": (OuterSpec(name="u", shape=(SIZE,), dtype="float64"),),
        "outer": OuterConfig(name="sgd", learning_rate=1.0),
        "rounds": RoundConfig(quorum=1),
        "leases": LeaseConfig(initial_seconds=30.0, min_seconds=30.0, max_seconds=30.0),
        "work": WorkSpec(problem="fake:Problem", inner_steps=10),
    }
    return RunConfig(**(settings | changes))


class FakeCoordinator:
    """Runs without a disk: what is in the journal survives :meth:`restart`."""

    def __init__(self, time: FakeTime, *, heartbeat_seconds: float = LONG_SECONDS) -> None:
        self.time = time
        self.heartbeat_seconds = heartbeat_seconds
        self.fleet = Fleet(FleetConfig(heartbeat_seconds=heartbeat_seconds, timeout_seconds=1e9))
        self.engines: dict[str, RunEngine] = {}
        self.journals: dict[str, list[tuple[Any, ...]]] = {}
        self.registrations: dict[str, Registration] = {}
        self.changed = asyncio.Event()
        self.ended_by_heartbeat: tuple[str, ...] = ()
        self.first_incarnation = 1
        self.created_at = 0.0

    # --- runs ------------------------------------------------------------------------------------

    def create(self, run_id: str = RUN, config: RunConfig | None = None) -> None:
        config = run_config() if config is None else config
        zero = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in config.parameters}
        created = Created(config=config.to_json(), payload=encode("identity", zero))
        self.journals[run_id] = [to_parts(created)]
        self.engines[run_id] = RunEngine(run_id, start(created))
        self._notify()

    def restart(self) -> None:
        """Forgets everything that is not durable."""
        for run_id, journal in self.journals.items():
            engine = RunEngine(run_id, replay(from_parts(*parts) for parts in journal))
            engine.restarted(self.time.now)
            self.engines[run_id] = engine
        self.fleet = Fleet(
            FleetConfig(heartbeat_seconds=self.heartbeat_seconds, timeout_seconds=1e9),
            self.registrations.values(),
        )

    def forget_workers(self) -> None:
        """As if the registrations had been lost."""
        self.registrations = {}
        self.fleet = Fleet(FleetConfig(heartbeat_seconds=self.heartbeat_seconds, timeout_seconds=1e9))

    def overtake(self, run_id: str = RUN, versions: int = 3) -> None:
        """Another worker publishes versions, after everybody else's lease has expired."""
        other = "other"
        if other not in self.registrations:
            self.register(other, "other-instance")
        self.time.now += 1000.0
        for _ in range(versions):
            answer = self.checkout(CheckoutQuery(run_id=run_id, worker_id=other, incarnation=1))
            query = CommitQuery(
                worker_id=other,
                incarnation=1,
                seq=answer.last_applied + 1,
                prev_applied=answer.last_applied,
                base=answer.version,
                kind="hypergradient",
                work=1.0,
                payload=encode("identity", {"u": np.zeros(SIZE)}),
            )
            self.commit(run_id, query)

    def events(self, run_id: str = RUN) -> Iterator[Event]:
        return (from_parts(*parts) for parts in self.journals[run_id])

    def applied(self, worker_id: str, run_id: str = RUN) -> np.ndarray:
        """Sum of a worker's accepted updates."""
        total = np.zeros(SIZE)
        for event in self.events(run_id):
            if isinstance(event, CommitRecord) and event.worker_id == worker_id and event.payload is not None:
                total = total + decode(event.payload)["u"]
        return total

    def records(self, worker_id: str, run_id: str = RUN) -> list[CommitRecord]:
        return [e for e in self.events(run_id) if isinstance(e, CommitRecord) and e.worker_id == worker_id]

    # --- calls -----------------------------------------------------------------------------------

    def register(self, worker_id: str, instance_id: str) -> RegisterResult:
        registration = self.fleet.decide_registration(worker_id, instance_id)
        incarnation = max(registration.incarnation, self.first_incarnation)
        registration = replace(registration, incarnation=incarnation)
        self.registrations[worker_id] = registration
        if self.fleet.register(registration, self.time.now):
            for engine in self.engines.values():
                engine.leave(worker_id, self.time.now)
        self._persist()
        return RegisterResult(
            incarnation=registration.incarnation,
            heartbeat_seconds=self.heartbeat_seconds,
            chains={},
            max_payload_bytes=1 << 30,
        )

    def checkout(self, query: CheckoutQuery) -> CheckoutResult:
        if query.worker_id:
            self.fleet.seen(query.worker_id, query.incarnation, self.time.now)
        run_id = query.run_id or self._any_active(query.except_runs)
        if not run_id:
            raise WaitExpiredError("there is no active run")
        answer = self._engine(run_id).checkout(query, self.time.now)
        self._persist()
        if isinstance(answer, MustWait):
            raise WaitExpiredError(answer.reason)
        return CheckoutResult(
            run_id=run_id,
            version=answer.version,
            digest=answer.digest,
            not_modified=answer.not_modified,
            parts=answer.parts,
            work_seconds=answer.work_seconds,
            shard=answer.shard,
            last_applied=answer.last_applied,
            applied_by=answer.applied_by,
            status=answer.status,
            bytes_received=0,
            bytes_sent=0,
        )

    def commit(self, run_id: str, query: CommitQuery) -> CommitResult:
        engine = self._engine(run_id)
        current = self.fleet.current_incarnation(query.worker_id)
        answer = engine.commit(query, current, self.time.now)
        self._persist()
        return CommitResult(
            staleness=answer.staleness,
            weight=answer.weight,
            version=answer.version,
            duplicate=answer.duplicate,
            last_applied=answer.last_applied,
            status=answer.status,
            bytes_received=0,
            bytes_sent=0,
        )

    def get_run(self, run_id: str) -> RunView:
        state = self._engine(run_id).state
        return RunView(
            run_id=run_id,
            config=state.config,
            status=state.status,
            reason=state.reason,
            version=state.version,
            digest=state.digest,
            created_at=self.created_at,
            accepted=0,
            refused=0,
            skipped=0,
            duplicate=0,
            staleness={},
            bytes_received=0,
            bytes_sent=0,
            bytes_dense=0,
            workers=(),
            metrics={},
        )

    def _any_active(self, but: Sequence[str]) -> str:
        active = (r for r, engine in self.engines.items() if engine.state.status == ACTIVE and r not in but)
        return next(active, "")

    def _engine(self, run_id: str) -> RunEngine:
        if run_id not in self.engines:
            raise RunNotFoundError(f"there is no run {run_id!r}", run_id=run_id)
        return self.engines[run_id]

    def _persist(self) -> None:
        for run_id, engine in self.engines.items():
            self.journals[run_id] += [to_parts(event) for event in engine.take_events()]
        self._notify()

    def _notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()
