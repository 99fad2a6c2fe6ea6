"""A real coordinator and real workers in the process of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chronos_common.fleet import FleetConfig
from chronos_common.metrics import MetricsConfig
from chronos_common.versions import LeaseConfig
from chronos_coordinator.app import CoordinatorApp, ListenConfig, Settings, StoreConfig
from chronos_worker import Worker, WorkerConfig

RUN = "run"
LEASES = LeaseConfig(initial_seconds=60.0, min_seconds=60.0)
"""Long ones, where the result must not depend on how busy the machine is."""


def settings(path: Path, port: int = 0, fleet_timeout_seconds: float = 10.0) -> Settings:
    return Settings(
        coordinator=ListenConfig(port=port, notice_seconds=0.0),
        store=StoreConfig(path=str(path)),
        fleet=FleetConfig(heartbeat_seconds=0.1, timeout_seconds=fleet_timeout_seconds),
        metrics=MetricsConfig(port=None),
    )


@asynccontextmanager
async def serving(path: Path, port: int = 0, **changes: Any) -> AsyncIterator[CoordinatorApp]:
    app = CoordinatorApp(settings=settings(path, port, **changes))
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


def worker(address: str, worker_id: str = "w", **changes: Any) -> Worker:
    fields: dict[str, Any] = {
        "coordinator": address,
        "worker_id": worker_id,
        "run_id": RUN,
        "problems": ("tests.support.problems:*",),
        "wait_seconds": 5.0,
        "retry_seconds": 0.02,
        "max_retry_seconds": 0.2,
    }
    return Worker(WorkerConfig(**(fields | changes)))
