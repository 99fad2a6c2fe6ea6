"""The composition root: settings, metrics, signals and the worker, put together for a process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from chronos_common.metrics import MetricsConfig, WorkerMetrics, serve_metrics, show_process
from chronos_common.runtime import (
    LoggingConfig,
    TracingConfig,
    announce,
    exporting_spans,
    get_logger,
    section,
    stop_on_signals,
)
from chronos_common.wire import ClientSecurity, DeadlineConfig, WireLimits
from chronos_worker.config import WorkerConfig
from chronos_worker.health import Health, HealthConfig
from chronos_worker.worker import Worker

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that ``chronos-worker`` can be told."""

    worker: WorkerConfig = section(WorkerConfig, flags="")
    client: ClientSecurity = section(ClientSecurity, flags="")
    deadlines: DeadlineConfig = section(DeadlineConfig)
    limits: WireLimits = section(WireLimits)
    health: HealthConfig = section(HealthConfig)
    metrics: MetricsConfig = section(MetricsConfig)
    tracing: TracingConfig = section(TracingConfig)
    logging: LoggingConfig = section(LoggingConfig, flags="log")


def make_worker(
    settings: Settings, registry: CollectorRegistry, metrics_port: int | None, health: Health
) -> Worker:
    """A worker that announces itself on stdout, and to its health service, once the coordinator knows it."""

    def registered() -> None:
        health.registered()
        ports = {"metrics_port": metrics_port, "health_port": health.port}
        announce(
            "ready",
            worker=worker.worker_id,
            **{name: port for name, port in ports.items() if port is not None},
        )

    worker = Worker(
        settings.worker,
        deadlines=settings.deadlines,
        limits=settings.limits,
        security=settings.client,
        metrics=WorkerMetrics(registry),
        on_registered=registered,
    )
    return worker


async def serve(settings: Settings) -> bool:
    """Runs a worker until its run is over or a signal stops it.

    Returns:
        Whether tensor work that nobody waits for is still going on, so that the process must be ended the
        hard way.

    Raises:
        ChronosError: see ``Worker.run``.
    """
    registry = CollectorRegistry()
    show_process(registry)
    if not settings.worker.problems:
        _log.warning("every problem will be refused: allow some with --problem 'package.module:*'")
    async with AsyncExitStack() as stack:
        stack.enter_context(exporting_spans(settings.tracing, service="chronos-worker"))
        port = None
        if settings.metrics.port is not None:
            server = serve_metrics(registry, settings.metrics.host, settings.metrics.port)
            port = stack.enter_context(server).port
        health = await stack.enter_async_context(
            Health(settings.health, deadlines=settings.deadlines, limits=settings.limits)
        )
        worker = make_worker(settings, registry, port, health)
        stop = stack.enter_context(stop_on_signals())
        working = asyncio.create_task(worker.run())
        asked = asyncio.create_task(stop.wait())
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        worker.stop()
        await health.stopping()
        try:
            await working
        finally:
            asked.cancel()
    return worker.busy
