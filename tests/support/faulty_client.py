"""A worker's connection to the coordinator in memory, over a network that does what a plan says.

Before every call the client asks its plan what goes wrong with it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeVar

import numpy as np

from chronos_common.codec import decode
from chronos_common.engine import (
    CheckoutQuery,
    CommitQuery,
    RunView,
)
from chronos_common.errors import (
    ChronosError,
    StaleCommitError,
    UnavailableError,
)
from chronos_common.wire import CheckoutResult, CommitResult, RegisterResult
from tests.support.fake_coordinator import SIZE, FakeCoordinator

T = TypeVar("T")

DELIVER, LOSE_REQUEST, LOSE_ANSWER, REPEAT, RESTART, STALE = (
    "deliver",
    "lose request",
    "lose answer",
    "repeat",
    "restart",
    "stale",
)
FAULTS = (DELIVER, LOSE_REQUEST, LOSE_ANSWER, REPEAT, RESTART, STALE)

Plan = Callable[[str], str]


def always_deliver(_method: str) -> str:
    return DELIVER


class FaultyClient:
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

    async def register(
        self, worker_id: str, instance_id: str, *, device: str, machine: object = None
    ) -> RegisterResult:
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
        self,
        run_id: str,
        *,
        worker_id: str,
        incarnation: int,
        known: int | None,
        wait_seconds: float,
        except_runs: Sequence[str] = (),
    ) -> CheckoutResult:
        query = CheckoutQuery(
            run_id=run_id,
            worker_id=worker_id,
            incarnation=incarnation,
            known=known,
            wait_seconds=wait_seconds,
            except_runs=tuple(except_runs),
        )
        self.checkouts.append(query)
        return await self._call("checkout", lambda: self.coordinator.checkout(query))

    async def commit(self, run_id: str, **fields: Any) -> CommitResult:
        query = CommitQuery(**fields)
        self.commits.append(query)
        try:
            return await self._call("commit", lambda: self.coordinator.commit(run_id, query))
        except StaleCommitError as error:
            if query.payload is not None:
                keep = 0.5 ** int(error.details["staleness"])
                self.discounted = self.discounted + (1.0 - keep) * decode(query.payload)["u"]
            raise

    async def get_run(self, run_id: str) -> RunView:
        return await self._call("get_run", lambda: self.coordinator.get_run(run_id))
