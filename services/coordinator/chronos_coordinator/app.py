"""The composition root: settings, store, coordinator, gRPC server and metrics, put together and taken apart."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry

from chronos_common.compression import server_residual
from chronos_common.engine import (
    ACTIVE,
    CommitRecord,
    Ended,
    EngineLimits,
    Event,
    PaceView,
    Published,
    RunState,
)
from chronos_common.engine.history import mean_metrics
from chronos_common.fleet import FleetConfig
from chronos_common.metrics import (
    CoordinatorMetrics,
    MetricsConfig,
    MetricsServer,
    serve_metrics,
    show_process,
)
from chronos_common.runtime import (
    LoggingConfig,
    TracingConfig,
    announce,
    exporting_spans,
    get_logger,
    section,
    stop_on_signals,
)
from chronos_common.store import database_path, open_store
from chronos_common.tensors import l2_norm
from chronos_common.wire import (
    DEFAULT_PORT,
    DeadlineConfig,
    Server,
    ServerConfig,
    ServerSecurity,
    WireLimits,
)
from chronos_coordinator.clan_metrics import clan_hooks_for
from chronos_coordinator.clan_service import clan_service
from chronos_coordinator.config import ActorConfig, CoordinatorConfig
from chronos_coordinator.coordinator import Coordinator
from chronos_coordinator.coordinator_service import coordinator_service
from chronos_coordinator.data_metrics import data_hooks_for
from chronos_coordinator.data_service import data_service
from chronos_coordinator.hooks import Hooks
from chronos_coordinator.memory_service import memory_service
from chronos_coordinator.metrics_service import metrics_service
from chronos_coordinator.observer import Observer
from chronos_coordinator.peer_service import peer_service
from chronos_coordinator.prediction_service import prediction_service

log = get_logger(__name__)

FENCED: Final = 3
"""Exit code of a coordinator that another one has replaced."""


@dataclass(frozen=True, kw_only=True)
class ListenConfig:
    """Where the coordinator listens.

    Attributes:
        host: address to listen on; the default is reachable from this machine only, 0.0.0.0 from all.
        port: gRPC port; 0 lets the operating system choose (the readiness line names it).
        reflection: describe the services to anyone who asks, or with tokens, to anyone who has one (for grpcurl
            and the like).
        notice_seconds: how long the port stays open at least after SIGTERM, so that clients which come back with
            their next call are told that it stops and that they may repeat it.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    reflection: bool = False
    notice_seconds: float = 0.5

    def __post_init__(self) -> None:
        ServerConfig(
            host=self.host, port=self.port, notice_seconds=self.notice_seconds
        )  # refuses what cannot be listened on


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Where state is kept, and how much of it.

    Attributes:
        path: directory for the SQLite database and large payloads, or an sqlite:/// URL.
        snapshot_entries: journal entries after which a run's state is written down, so that a restart replays no
            more than about as many; 0 is never.
        retain_versions: newest versions whose journal entries are kept; older ones are dropped once two snapshots
            have been written after them, and can be verified and watched no more. 0 keeps everything.
    """

    path: str = "chronos-data"
    snapshot_entries: int = ActorConfig.snapshot_entries
    retain_versions: int = ActorConfig.retain_versions

    def __post_init__(self) -> None:
        _ = self.actor  # refuses what cannot work

    @property
    def actor(self) -> ActorConfig:
        """What it means for each run."""
        return ActorConfig(snapshot_entries=self.snapshot_entries, retain_versions=self.retain_versions)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that ``chronos-coordinator`` can be told."""

    coordinator: ListenConfig = section(ListenConfig, flags="")
    server: ServerSecurity = section(ServerSecurity, flags="")
    store: StoreConfig = section(StoreConfig)
    fleet: FleetConfig = section(FleetConfig)
    deadlines: DeadlineConfig = section(DeadlineConfig)
    limits: WireLimits = section(WireLimits)
    metrics: MetricsConfig = section(MetricsConfig)
    tracing: TracingConfig = section(TracingConfig)
    logging: LoggingConfig = section(LoggingConfig, flags="log")


@dataclass(kw_only=True)
class CoordinatorApp:
    """A coordinator process's parts. ``await start()``, then ``address`` says where it is; ``await stop()``."""

    settings: Settings
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        metrics = self._metrics = CoordinatorMetrics(self.registry)
        show_process(self.registry)
        self.coordinator = Coordinator(
            lambda: open_store(self.settings.store.path, observe=metrics.store_write),
            config=CoordinatorConfig(
                fleet=self.settings.fleet,
                actor=self.settings.store.actor,
                limits=EngineLimits(max_payload_bytes=self.settings.limits.max_payload_bytes),
            ),
            observer=observer_for(metrics),
        )
        listen = self.settings.coordinator
        self._server = Server(
            ServerConfig(
                host=listen.host,
                port=listen.port,
                reflection=listen.reflection,
                notice_seconds=listen.notice_seconds,
                security=self.settings.server,
                limits=self.settings.limits,
                deadlines=self.settings.deadlines,
            ),
            [
                coordinator_service(
                    self.coordinator,
                    heartbeat_seconds=self.settings.fleet.heartbeat_seconds,
                    deadlines=self.settings.deadlines,
                ),
                metrics_service(self.coordinator),
                memory_service(self.coordinator.memory),
                data_service(self.coordinator.data, deadlines=self.settings.deadlines),
                clan_service(self.coordinator.clans, deadlines=self.settings.deadlines),
                prediction_service(self.coordinator.prediction),
                peer_service(self.coordinator.peers),
            ],
            observe=metrics.rpc,
        )
        self._metrics_server: MetricsServer | None = None

    @property
    def address(self) -> str:
        """``host:port`` of the gRPC server."""
        return self._server.address

    @property
    def metrics_port(self) -> int | None:
        """Port of ``/metrics``, or ``None`` when it is off."""
        return self._metrics_server.port if self._metrics_server is not None else None

    async def start(self) -> None:
        """Takes leadership, recovers, and begins to serve; leaves nothing behind when it cannot.

        Raises:
            ConfigurationError, LeadershipHeldError, StoreError: said in one line for the user.
        """
        try:
            await self.coordinator.start()
            self._metrics.store_on(database_path(self.settings.store.path).parent)
            await self._server.start()
            if self.settings.metrics.port is not None:
                self._metrics_server = serve_metrics(
                    self.registry, self.settings.metrics.host, self.settings.metrics.port
                )
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Drains: no new calls, nobody waits, accepted calls finish, everything is durable and closed."""
        self._server.refuse()
        self.coordinator.drain()
        await self._server.stop()
        await self.coordinator.stop()
        if self._metrics_server is not None:
            self._metrics_server.close()
            self._metrics_server = None


async def serve(settings: Settings) -> int:
    """Runs a coordinator until SIGTERM, SIGINT, or until another coordinator replaces it; the exit code."""
    app = CoordinatorApp(settings=settings)
    with exporting_spans(settings.tracing, service="chronos-coordinator"), stop_on_signals() as stop:
        await app.start()
        announce(address=app.address, metrics_port=app.metrics_port or 0)
        waits = [asyncio.create_task(event.wait()) for event in (stop, app.coordinator.fenced)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await app.stop()
    if app.coordinator.fenced.is_set():
        log.error("another coordinator has taken over the store; this one ends")
        return FENCED
    return 0


def observer_for(metrics: CoordinatorMetrics) -> Observer:
    """Translates what the coordinator reports into series."""
    rounds: dict[str, list[CommitRecord]] = {}

    def serving(run_id: str, state: RunState, published_at: float | None) -> None:
        if state.status != ACTIVE:
            rounds.pop(run_id, None)
            metrics.found_ended(run_id)
            return
        metrics.serving(
            run_id,
            version=state.version,
            max_staleness=state.config.rounds.max_staleness,
            lag_limit=None if state.guard is None else state.config.compression.guard.limit,
            published_at=published_at,
        )
        _account_for(metrics, run_id, state)

    def committed(run_id: str, state: RunState, events: Sequence[Event]) -> None:
        _account_for(metrics, run_id, state, only_ledger=not any(isinstance(e, Published) for e in events))
        for event in events:
            if isinstance(event, CommitRecord):
                rounds.setdefault(run_id, []).append(event)
                metrics.accepted(
                    run_id,
                    event.worker_id,
                    staleness=event.staleness,
                    skipped=event.payload is None,
                    timing=event.timing,
                    residual_lost=event.residual_lost,
                )
            elif isinstance(event, Published):
                means = mean_metrics([commit.metrics for commit in rounds.pop(run_id, [])])
                metrics.published(run_id, event.version, means.get("outer_loss"))
            elif isinstance(event, Ended):
                rounds.pop(run_id, None)
                metrics.run_ended(run_id)

    return Observer(
        hooks=Hooks(
            serving=serving,
            committed=committed,
            waiting=metrics.waiting,
            in_flight=metrics.in_flight,
            lease=metrics.lease,
            snapshot=metrics.snapshot,
            paced=partial(_paced, metrics),
        ),
        data=data_hooks_for(metrics),
        clans=clan_hooks_for(metrics),
        wanted=metrics.wanted_workers,
        refused=metrics.refused,
        duplicate=metrics.duplicate,
        traffic=metrics.traffic,
        fleet=metrics.live_workers,
        lost=metrics.worker_lost,
    )


def _paced(metrics: CoordinatorMetrics, run_id: str, worker_id: str, pace: PaceView) -> None:
    metrics.paced(
        run_id,
        worker_id,
        predicted=pace.predicted_seconds,
        actual=pace.actual_seconds,
        straggling=pace.straggling,
        share=pace.share,
    )


def _account_for(
    metrics: CoordinatorMetrics, run_id: str, state: RunState, *, only_ledger: bool = False
) -> None:
    metrics.ledger(run_id, state.account.terms())
    if only_ledger:
        return
    metrics.influence(run_id, {name: chain.effective_weight for name, chain in state.rounds.chains.items()})
    if state.memory is not None:
        memory = state.memory
        metrics.memory(
            run_id,
            entries=len(memory),
            size_bytes=memory.size_bytes,
            cosine=memory.mean_cosine,
            events=asdict(memory.counts),
        )
    if state.guard is not None:
        metrics.downlink(
            run_id,
            residual_norm=l2_norm(server_residual(state.master, state.published)),
            lag_ratio=state.guard.ratio,
            density=state.guard.density,
            rate_scale=state.guard.rate_scale,
        )
