"""A coordinator in memory for tests of the worker: the real engine and fleet, behind a network that misbehaves.

``FakeCoordinator`` decides and keeps a journal; ``FakeClient`` is a worker's connection to it. Before every
call the client asks its plan what goes wrong. Nothing here takes time: ``FakeTime`` is a clock that pauses
move on, while long sleeps (heartbeats, the drain) wait until the test lets them pass.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Self, TypeVar

import numpy as np
import torch

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
    ChronosError,
    RunNotFoundError,
    StaleCommitError,
    UnavailableError,
    WaitExpiredError,
)
from chronos_common.fleet import Fleet, FleetConfig, Registration
from chronos_common.hypergradient import Carry, InnerUpdate
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.versions import LeaseConfig, MustWait, RoundConfig
from chronos_common.wire import CheckoutResult, CommitResult, RegisterResult
from chronos_worker.trainer import Trainer

T = TypeVar("T")

RUN = "run"
SIZE = 96
LONG_SECONDS = 100.0
"""Sleeps of at least this length wait for the test."""

DELIVER, LOSE_REQUEST, LOSE_ANSWER, REPEAT, RESTART, STALE = (
    "deliver",
    "lose request",
    "lose answer",
    "repeat",
    "restart",
    "stale",
)
FAULTS = (DELIVER, LOSE_REQUEST, LOSE_ANSWER, REPEAT, RESTART, STALE)


class FakeTime:
    """A clock and a sleep for a worker."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._long: list[tuple[float, asyncio.Event]] = []
        self._begun = asyncio.Event()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if seconds >= LONG_SECONDS:
            passed = asyncio.Event()
            self._long.append((seconds, passed))
            begun, self._begun = self._begun, asyncio.Event()
            begun.set()
            await passed.wait()
        else:
            self.now += seconds
            await asyncio.sleep(0)

    async def until_asleep(self, seconds: float) -> None:
        """Waits until somebody has begun a long sleep of that length."""
        async with asyncio.timeout(30):
            while all(length != seconds for length, _ in self._long):
                await self._begun.wait()

    def pass_long(self, seconds: float) -> None:
        """Ends the long sleeps of that length."""
        self.now += seconds
        for length, passed in list(self._long):
            if length == seconds:
                passed.set()
                self._long.remove((length, passed))


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

    # --- runs ------------------------------------------------------------------------------------

    def create(self, run_id: str = RUN, config: RunConfig | None = None) -> None:
        config = run_config() if config is None else config
        zero = {spec.name: np.zeros(spec.shape) for spec in config.parameters}
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
        run_id = query.run_id or next((r for r, e in self.engines.items() if e.state.status == ACTIVE), "")
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
            payload=answer.payload,
            work_seconds=answer.work_seconds,
            shard=answer.shard,
            last_applied=answer.last_applied,
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
            created_at=0.0,
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


Plan = Callable[[str], str]


def always_deliver(_method: str) -> str:
    return DELIVER


class FakeClient:
    """A worker's connection: every call may be lost, repeated, or meet another coordinator process."""

    def __init__(self, coordinator: FakeCoordinator, plan: Plan = always_deliver) -> None:
        self.coordinator = coordinator
        self.plan = plan
        self.calls: Counter[str] = Counter()
        self.commits: list[CommitQuery] = []
        self.checkouts: list[CheckoutQuery] = []
        self.holding: list[list[tuple[str, int]]] = []
        self.left: list[str] = []
        self.discounted = np.zeros(SIZE)
        self.errors: dict[str, list[ChronosError]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        """A call named here waits until its event is set."""
        self.closed = False
        self._progress = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.closed = True

    async def until(self, method: str, count: int) -> None:
        """Waits until a method has been called so many times."""
        async with asyncio.timeout(30):
            while self.calls[method] < count:
                await self._progress.wait()

    async def _call(self, method: str, decide: Callable[[], T]) -> T:
        self.calls[method] += 1
        progress, self._progress = self._progress, asyncio.Event()
        progress.set()
        await asyncio.sleep(0)
        assert sum(self.calls.values()) < 5000, f"the worker spins: {self.calls}"
        if method in self.gates:
            await self.gates[method].wait()
        if self.errors.get(method):
            raise self.errors[method].pop(0)
        fault = self.plan(method)
        if fault == LOSE_REQUEST:
            raise UnavailableError("the request was lost")
        if fault == RESTART:
            self.coordinator.restart()
        if fault == STALE and method == "commit":
            self.coordinator.overtake()
        if fault == REPEAT:
            decide()
        try:
            answer = decide()
        except ChronosError:
            if fault == LOSE_ANSWER:
                raise UnavailableError("the answer was lost") from None
            raise
        if fault == LOSE_ANSWER:
            raise UnavailableError("the answer was lost")
        return answer

    async def register(self, worker_id: str, instance_id: str, *, device: str) -> RegisterResult:
        return await self._call("register", lambda: self.coordinator.register(worker_id, instance_id))

    async def heartbeat(
        self, worker_id: str, incarnation: int, *, holding: Iterable[tuple[str, int]]
    ) -> tuple[str, ...]:
        self.holding.append(list(holding))

        def decide() -> tuple[str, ...]:
            self.coordinator.fleet.seen(worker_id, incarnation, self.coordinator.time.now)
            return self.coordinator.ended_by_heartbeat

        return await self._call("heartbeat", decide)

    async def deregister(self, worker_id: str, incarnation: int, *, reason: str) -> None:
        def decide() -> None:
            self.coordinator.fleet.left(worker_id, incarnation)
            self.left.append(reason)
            for engine in self.coordinator.engines.values():
                engine.leave(worker_id, self.coordinator.time.now)

        await self._call("deregister", decide)

    async def checkout(
        self, run_id: str, *, worker_id: str, incarnation: int, known: int | None, wait_seconds: float
    ) -> CheckoutResult:
        query = CheckoutQuery(
            run_id=run_id,
            worker_id=worker_id,
            incarnation=incarnation,
            known=known,
            wait_seconds=wait_seconds,
        )
        self.checkouts.append(query)
        return await self._call("checkout", lambda: self.coordinator.checkout(query))

    async def commit(self, run_id: str, **fields: Any) -> CommitResult:
        query = CommitQuery(**fields)
        self.commits.append(query)
        try:
            return await self._call("commit", lambda: self.coordinator.commit(run_id, query))
        except StaleCommitError as error:
            assert query.payload is not None
            keep = 0.5 ** int(error.details["staleness"])
            self.discounted = self.discounted + (1.0 - keep) * decode(query.payload)["u"]
            raise

    async def get_run(self, run_id: str) -> RunView:
        return await self._call("get_run", lambda: self.coordinator.get_run(run_id))


class FakeCompute:
    """Stands for the user's problem: the n-th update is the n-th unit vector, so that every one is told apart."""

    def __init__(self) -> None:
        self.produced = 0
        self.inputs: list[Mapping[str, Any]] = []
        self.before: Callable[[int, Mapping[str, Any]], object] = lambda _number, _arguments: None
        """Called in the compute thread before the n-th update is made; may raise."""
        self.work = 1.0

    def __call__(self, _problem: object, _estimator: object, stored: Any, **arguments: Any) -> InnerUpdate:
        arguments["stored"] = stored
        number = len(self.inputs)
        self.inputs.append(arguments)
        self.before(number, arguments)
        gradient = np.zeros(SIZE)
        gradient[self.produced] = 1.0
        self.produced += 1
        return InnerUpdate(
            gradient={"u": gradient},
            work=self.work,
            metrics={"outer_loss": 0.5, "odd": float("nan")},
            diagnostics={"outer_loss": 0.5},
            samples=7,
            tasks=1,
            carry=Carry(base_version=arguments["base_version"], next_step=number, inner={}, estimator={}),
        )

    def load(self, time: FakeTime) -> Callable[[WorkSpec], Trainer]:
        """What a worker takes for ``load``."""

        def load(work: WorkSpec) -> Trainer:
            return Trainer(
                None,  # type: ignore[arg-type]  # the fake never looks at it
                None,  # type: ignore[arg-type]
                work,
                device=torch.device("cpu"),
                clock=time.clock,
                compute=self,
            )

        return load
