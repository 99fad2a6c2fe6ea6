"""A coordinator to test: a disk whose writes complete by hand, a clock, and workers that only do arithmetic."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chronos_common.codec import decode, encode
from chronos_common.engine import CheckoutAnswer, CheckoutQuery, CommitAnswer, CommitQuery, RunConfig
from chronos_common.errors import StoreError, StoreWriteError
from chronos_common.fleet import FleetConfig
from chronos_common.outer import OuterConfig, OuterSpec
from chronos_common.store import JournalEntry, MemoryStore, StreamKey
from chronos_common.store.memory import MemoryDatabase
from chronos_common.versions import HYPERGRADIENT, LeaseConfig, RoundConfig
from chronos_coordinator.config import ActorConfig, CoordinatorConfig
from chronos_coordinator.coordinator import Coordinator
from tests.support.polling import poll_async

RUN = "run-1"
LEASES = LeaseConfig(initial_seconds=30.0, min_seconds=30.0, max_seconds=30.0)
CONFIG = CoordinatorConfig(
    # The reaper looks twice per heartbeat of the machine's clock; silence is counted on the injected one.
    fleet=FleetConfig(heartbeat_seconds=0.02, timeout_seconds=5.0),
    actor=ActorConfig(keep_versions=3, reload_seconds=0.005),
    counts_seconds=3600.0,
)


def run_config(
    *,
    quorum: int | None = 1,
    max_versions: int = 0,
    leases: LeaseConfig = LEASES,
    learning_rate: float = 1.0,
    **rounds: Any,
) -> RunConfig:
    """Two numbers that plain gradient descent moves by minus the update."""
    return RunConfig(
        parameters=(OuterSpec(name="x", shape=(2,), dtype="float64"),),
        outer=OuterConfig(name="sgd", learning_rate=learning_rate),
        rounds=RoundConfig(quorum=quorum, **rounds),
        leases=leases,
        max_versions=max_versions,
    )


def payload(value: float = 0.0) -> bytes:
    """Both numbers at one value."""
    return encode("identity", {"x": np.full(2, value)})


def value_of(content: bytes | None) -> float:
    """The value that :func:`payload` made, or what became of it."""
    assert content is not None
    first, second = decode(content)["x"]
    assert first == second
    return float(first)


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Write:
    """A write that waits for the test to decide on it."""

    operation: str
    future: Future[None]
    apply: Callable[[], Future[None]]

    def land(self) -> None:
        """It becomes durable, and the writer hears of it."""
        self.apply().result()
        self.future.set_result(None)

    def fail(self, *, landed: bool) -> None:
        """The writer hears of a failure, whether or not the write is durable."""
        if landed:
            self.apply().result()
        self.future.set_exception(StoreWriteError("the disk went away in the middle"))


@dataclass
class Disk:
    """What several stores share: a database in memory, and what happens to writes.

    ``hold`` keeps every write of these operations in ``writes`` until the test lets it land or fail; ``full``
    fails every write and breaks the store; ``unopenable`` refuses so many attempts to open it; a
    store that is closed announces that by ``closing`` and waits for ``may_close``.
    """

    database: MemoryDatabase = field(default_factory=MemoryDatabase)
    hold: frozenset[str] = frozenset()
    full: bool = False
    unopenable: int = 0
    opened: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    may_close: threading.Event = field(default_factory=threading.Event)
    done: list[str] = field(default_factory=list)
    writes: asyncio.Queue[Write] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.may_close.set()

    def open(self) -> DiskStore:
        if self.unopenable:
            self.unopenable -= 1
            raise StoreError("the disk is not there yet")
        self.opened += 1
        return DiskStore(self)

    def appends(self) -> int:
        return self.done.count("append")

    def journal(self, run_id: str = RUN) -> list[JournalEntry]:
        return list(self.database.journals.get(StreamKey.of_run(run_id), []))

    def kinds(self, run_id: str = RUN) -> list[str]:
        return [entry.kind for entry in self.journal(run_id)]

    async def next_write(self) -> Write:
        async with asyncio.timeout(5.0):
            return await self.writes.get()


class DiskStore(MemoryStore):
    """A store on a :class:`Disk`; broken by its first failed write, as the real one is."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk.database)
        self._disk = disk
        self._broken = False

    def close(self) -> None:
        self._disk.closing.set()
        assert self._disk.may_close.wait(5.0)
        super().close()

    def _write(self, operation: str, apply: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()
        if self._broken or self._disk.full:
            self._broken = True
            future.set_exception(StoreWriteError("the store is broken: no space left on the disk"))
            return future

        def perform() -> Future[None]:
            self._disk.done.append(operation)
            return super(DiskStore, self)._write(operation, apply)

        if operation not in self._disk.hold:
            return perform()
        future.set_running_or_notify_cancel()
        future.add_done_callback(self._note_failure)
        self._disk.writes.put_nowait(Write(operation=operation, future=future, apply=perform))
        return future

    def _note_failure(self, future: Future[None]) -> None:
        self._broken = self._broken or future.exception() is not None


@dataclass
class Member:
    """One worker process as the coordinator sees it."""

    coordinator: Coordinator
    worker_id: str = "w1"
    run_id: str = RUN
    incarnation: int = 0
    applied: int = 0

    async def register(self, instance: str = "instance-1") -> Member:
        answer = await self.coordinator.register(self.worker_id, instance, "cpu")
        self.incarnation = answer.incarnation
        return self

    async def checkout(
        self,
        *,
        run_id: str | None = None,
        known: int | None = None,
        min_version: int = 0,
        wait: float = 0.0,
        except_runs: tuple[str, ...] = (),
    ) -> CheckoutAnswer:
        return await self.coordinator.checkout(
            CheckoutQuery(
                run_id=self.run_id if run_id is None else run_id,
                worker_id=self.worker_id,
                incarnation=self.incarnation,
                known=known,
                min_version=min_version,
                wait_seconds=wait,
                except_runs=except_runs,
            )
        )

    def query(self, base: int, value: float = 1.0, **changes: Any) -> CommitQuery:
        fields: dict[str, Any] = {
            "worker_id": self.worker_id,
            "incarnation": self.incarnation,
            "seq": self.applied + 1,
            "prev_applied": self.applied,
            "base": base,
            "kind": HYPERGRADIENT,
            "work": 1.0,
            "payload": payload(value),
        }
        return CommitQuery(**{**fields, **changes})

    async def commit(self, base: int, value: float = 1.0, **changes: Any) -> CommitAnswer:
        answer = await self.coordinator.commit(self.run_id, self.query(base, value, **changes))
        self.applied = answer.last_applied
        return answer


async def settled(rounds: int = 50) -> None:
    """Lets everything run that can run without another event: for saying that something did *not* happen."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def parked(coordinator: Coordinator, count: int = 1, run_id: str = RUN) -> None:
    """Returns when so many checkouts of a run wait."""
    actor = coordinator._runs.loaded(run_id)
    assert actor is not None
    await poll_async(lambda: len(actor._parking) == count, f"{count} parked checkouts", timeout_seconds=5.0)
