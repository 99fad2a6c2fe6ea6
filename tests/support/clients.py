"""Workers that only do arithmetic, on the other end of a real connection; and what to start a coordinator with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chronos_common.engine import ACTIVE
from chronos_common.errors import (
    ChainBrokenError,
    RunNotActiveError,
    StaleCommitError,
    StoreError,
    UnavailableError,
)
from chronos_common.fleet import FleetConfig
from chronos_common.metrics import MetricsConfig
from chronos_common.wire import CheckoutResult, CommitResult, CoordinatorClient, DeadlineConfig, WireLimits
from chronos_coordinator.app import CoordinatorApp, ListenConfig, Settings, StoreConfig
from tests.support.serving import RUN, payload

BUDGET = DeadlineConfig(budget_seconds=5.0)
FLEET = FleetConfig(heartbeat_seconds=0.1, timeout_seconds=1.0)
MAX_PAYLOAD_BYTES = 4096


def app_settings(store: Path, *, port: int = 0, metrics_port: int | None = None) -> Settings:
    """A coordinator on loopback that takes small payloads and loses patience soon."""
    return Settings(
        coordinator=ListenConfig(port=port, notice_seconds=0.0),
        store=StoreConfig(path=str(store)),
        fleet=FLEET,
        deadlines=BUDGET,
        limits=WireLimits(max_payload_bytes=MAX_PAYLOAD_BYTES, max_in_flight_bytes=1 << 20),
        metrics=MetricsConfig(port=metrics_port),
    )


@dataclass(eq=False)
class Committer:
    """Checks out, commits and sends again until it knows, as a worker does.

    Attributes:
        log: acknowledged commits: seq to (incarnation, base, value).
        sent: every value that it ever sent.
        duplicates: how many acknowledgements were stored answers.
    """

    client: CoordinatorClient
    worker_id: str = "w1"
    run_id: str = RUN
    instance: str = "instance-1"
    incarnation: int = 0
    applied: int = 0
    log: dict[int, tuple[int, int, float]] = field(default_factory=dict)
    sent: list[float] = field(default_factory=list)
    duplicates: int = 0

    async def register(self) -> Committer:
        result = await self.client.register(self.worker_id, self.instance)
        self.incarnation = result.incarnation
        self.applied = result.chains.get(self.run_id, 0)
        return self

    async def checkout(self, **changes: Any) -> CheckoutResult:
        return await self.client.checkout(
            self.run_id, worker_id=self.worker_id, incarnation=self.incarnation, **changes
        )

    async def commit(self, base: int, value: float = 1.0, **changes: Any) -> CommitResult:
        fields: dict[str, Any] = {
            "worker_id": self.worker_id,
            "incarnation": self.incarnation,
            "seq": self.applied + 1,
            "prev_applied": self.applied,
            "base": base,
            "payload": payload(value),
        }
        result = await self.client.commit(self.run_id, **{**fields, **changes})
        self.applied = result.last_applied
        return result

    async def work(self, number: int) -> bool:
        """One value into the run, exactly once, however often that takes; False when the run is over."""
        value = float(number)
        base: int | None = None
        while True:
            try:
                if base is None:
                    answer = await self.checkout(wait_seconds=1.0)
                    base = answer.version
                    self.sent.append(value)
                result = await self.commit(base, value)
            except (UnavailableError, StoreError):
                await asyncio.sleep(0.02)
            except StaleCommitError:
                base = None
            except RunNotActiveError:
                return False
            except ChainBrokenError as error:
                raise AssertionError(f"{self.worker_id}: {error}") from error
            else:
                self.duplicates += result.duplicate
                self.log[result.last_applied] = (self.incarnation, base, value)
                return result.status == ACTIVE

    async def work_until_the_end(self, first: int = 1) -> None:
        """Values ``first``, ``first + 1``, ... until the run is over."""
        number = first
        while await self.work(number):
            number += 1


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[CoordinatorApp]:
    """A coordinator in this process."""
    app = CoordinatorApp(settings=settings)
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


@contextlib.asynccontextmanager
async def committers(address: str, names: list[str]) -> AsyncIterator[list[Committer]]:
    """Registered workers with a connection each."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for name in names:
            client = await stack.enter_async_context(CoordinatorClient(address, deadlines=BUDGET))
            found.append(await Committer(client, worker_id=name).register())
        yield found
