"""A worker under test, with a coordinator, a network, a clock and a problem that do what the test says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from chronos_common.metrics import WorkerMetrics
from chronos_worker import Worker, WorkerConfig
from tests.support.fake_compute import FakeCompute
from tests.support.fake_coordinator import FakeCoordinator
from tests.support.fake_time import FakeTime
from tests.support.faulty_client import FaultyClient

DRAIN_SECONDS = 500.0
"""Longer than any other pause, so that a test can wait for the drain and let it pass."""


class Bench:
    """A worker under test with everything around it."""

    def __init__(self, plan: Callable[[str], str] | None = None, **config: Any) -> None:
        self.time = FakeTime()
        self.coordinator = FakeCoordinator(self.time)
        self.client = FaultyClient(self.coordinator, plan) if plan else FaultyClient(self.coordinator)
        self.compute = FakeCompute()
        self.registry = CollectorRegistry()
        settings: dict[str, Any] = {"worker_id": "w", "drain_seconds": DRAIN_SECONDS}
        self.worker = Worker(
            WorkerConfig(**(settings | config)),
            metrics=WorkerMetrics(self.registry),
            connect=lambda: self.client,
            load=self.compute.load(self.time),
            clock=self.time.clock,
            sleep=self.time.sleep,
            rng=random.Random(0),
        )

    def stop_at(self, updates: int) -> None:
        """The worker is asked to stop while it computes its n-th update, which it still commits."""

        def before(number: int, _arguments: Mapping[str, Any]) -> None:
            if number + 1 == updates:
                self.worker.stop()

        self.compute.before = before

    async def run(self) -> None:
        async with asyncio.timeout(60):
            await self.worker.run()

    async def run_updates(self, updates: int) -> None:
        self.stop_at(updates)
        await self.run()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    @property
    def applied(self) -> list[float]:
        return list(self.coordinator.applied("w")[: self.compute.produced])
