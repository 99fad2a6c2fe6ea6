"""A coordinator that does what a test tells it, behind the real handlers, server and client."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from chronos_common.codec import encode
from chronos_common.engine import (
    ACTIVE,
    CheckoutAnswer,
    CheckoutQuery,
    CommitAnswer,
    CommitQuery,
    MergedCommit,
    MetricSample,
    RegistrationAnswer,
    RunConfig,
    RunView,
    VerifyReport,
    VersionPart,
    VersionRecord,
    WorkerView,
)
from chronos_common.engine.views import MemoryView
from chronos_common.engine.warm_start import WarmStartCandidate
from chronos_common.errors import MemoryOffError
from chronos_common.fleet import Fleet, FleetConfig
from chronos_common.outer import OuterSpec
from chronos_common.outer.memory import Neighbour, Prediction
from chronos_common.tensors import Arrays
from chronos_common.wire import DeadlineConfig, Server, ServerConfig, ServerSecurity, WireLimits
from chronos_coordinator.clan_service import clan_service
from chronos_coordinator.coordinator_service import coordinator_service
from chronos_coordinator.data_service import data_service
from chronos_coordinator.memory_desk import WarmStart
from chronos_coordinator.memory_service import memory_service
from chronos_coordinator.metrics_service import metrics_service
from chronos_coordinator.peer_desk import PeerDesk
from chronos_coordinator.peer_service import peer_service
from chronos_coordinator.prediction_service import prediction_service
from tests.support.fake_clan import FakeClan
from tests.support.fake_data import FakeData
from tests.support.fake_prediction import FakePrediction
from tests.support.parts import whole

BUDGET = DeadlineConfig(budget_seconds=5.0)
HEARTBEAT_SECONDS = 0.25


def run_config(**changes: Any) -> RunConfig:
    """A small definition."""
    spec = OuterSpec.from_natural(
        name="weight_decay", shape=(3,), dtype="float64", scale="log", lower=1e-6, upper=0.1
    )
    return RunConfig(parameters=(spec,), **changes)


def initial_payload() -> bytes:
    """Values that fit :func:`run_config`."""
    return encode("identity", {"weight_decay": np.log(np.full(3, 1e-3))})


def run_view(run_id: str = "run-1", **changes: Any) -> RunView:
    """A run with something in every field."""
    fields: dict[str, Any] = {
        "run_id": run_id,
        "config": run_config(),
        "status": ACTIVE,
        "reason": "",
        "version": 7,
        "digest": "ab" * 32,
        "created_at": 1_700_000_000.123456,
        "accepted": 20,
        "refused": 1,
        "skipped": 2,
        "duplicate": 3,
        "staleness": {0: 15, 1: 5},
        "bytes_received": 100,
        "bytes_sent": 200,
        "bytes_dense": 400,
        "workers": (
            WorkerView(
                worker_id="worker-0",
                incarnation=2,
                live=True,
                accepted=20,
                effective_weight=17.5,
                compute_seconds=1.25,
                wait_seconds=0.5,
                communication_seconds=0.125,
            ),
        ),
        "metrics": {"outer_loss": 0.25},
    }
    return RunView(**{**fields, **changes})


def version_record(version: int) -> VersionRecord:
    """A published version."""
    merged = MergedCommit(
        worker_id="worker-0", seq=version, staleness=1, weight=0.5, work=0.75, skipped=False
    )
    return VersionRecord(
        version=version,
        digest=f"{version:064x}",
        time=1_700_000_000.0 + version,
        commits=(merged,),
        metrics={"outer_loss": 1.0 / version},
    )


@dataclass
class FakeFacade:
    """Counts every call, keeps every query, and answers from its fields or raises ``errors[method]``."""

    calls: Counter[str] = field(default_factory=Counter)
    errors: dict[str, Exception] = field(default_factory=dict)
    failures_left: dict[str, int] = field(default_factory=dict)
    payload: bytes = b"payload"
    deltas: tuple[VersionPart, ...] = ()
    """What a client that holds version 3 gets."""
    records: list[VersionRecord] = field(default_factory=list)
    final_status: str = ACTIVE
    queries: list[Any] = field(default_factory=list)
    traffic: list[tuple[str, int, int, int]] = field(default_factory=list)
    samples: list[MetricSample] = field(default_factory=list)
    hold: asyncio.Event | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def _enter(self, method: str, *arguments: Any) -> None:
        self.calls[method] += 1
        self.queries.append(arguments)
        self.arrived.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.failures_left.get(method, 1) > 0 and method in self.errors:
            if method in self.failures_left:
                self.failures_left[method] -= 1
            raise self.errors[method]

    async def create_run(
        self, run_id: str, config: RunConfig, initial_payload: bytes, warm_start: WarmStart | None = None
    ) -> RunView:
        await self._enter(
            "create_run", run_id, config, initial_payload, *([warm_start] if warm_start else [])
        )
        return run_view(run_id, config=config)

    async def run_view(self, run_id: str) -> RunView:
        await self._enter("run_view", run_id)
        return run_view(run_id, status=ACTIVE if self.records else self.final_status)

    async def list_runs(self) -> list[RunView]:
        await self._enter("list_runs")
        return [run_view("run-2"), run_view("run-1")]

    async def watch(self, run_id: str, after_version: int) -> AsyncIterator[tuple[VersionRecord | None, str]]:
        self.calls["watch"] += 1
        self.queries.append((run_id, after_version))
        for record in self.records:
            if record.version > after_version:
                yield record, ACTIVE
        if self.final_status == ACTIVE:
            await asyncio.Event().wait()
        yield None, self.final_status

    async def stop_run(self, run_id: str, reason: str) -> RunView:
        await self._enter("stop_run", run_id, reason)
        return run_view(run_id, status="stopped", reason=reason)

    async def verify_run(self, run_id: str, *, from_snapshot: bool = False) -> VerifyReport:
        await self._enter("verify_run", run_id, *["from_snapshot"] * from_snapshot)
        return VerifyReport(
            clean=False, versions=7, entries=30, problem="digest of version 3", from_version=1
        )

    async def register(
        self, worker_id: str, instance_id: str, device: str, machine: object = None
    ) -> RegistrationAnswer:
        await self._enter("register", worker_id, instance_id, device)
        return RegistrationAnswer(incarnation=4, chains={"run-1": 9})

    async def heartbeat(
        self, worker_id: str, incarnation: int, holding: Sequence[tuple[str, int]]
    ) -> list[str]:
        await self._enter("heartbeat", worker_id, incarnation, list(holding))
        return ["run-9"]

    async def deregister(self, worker_id: str, incarnation: int, reason: str) -> None:
        await self._enter("deregister", worker_id, incarnation, reason)

    async def checkout(self, query: CheckoutQuery) -> CheckoutAnswer:
        await self._enter("checkout", query)
        not_modified = query.known == 7
        return CheckoutAnswer(
            run_id=query.run_id or "run-1",
            version=7,
            digest="cd" * 32,
            not_modified=not_modified,
            parts=() if not_modified else self.deltas if query.known == 3 else whole(self.payload, 7),
            work_seconds=12.5,
            shard=(1, 3),
            last_applied=9,
            status=ACTIVE,
            dense_bytes=len(self.payload),
        )

    async def commit(self, run_id: str, query: CommitQuery) -> CommitAnswer:
        await self._enter("commit", run_id, query)
        return CommitAnswer(
            staleness=1,
            weight=0.5,
            version=8,
            duplicate=True,
            last_applied=query.seq,
            status=ACTIVE,
            dense_bytes=len(self.payload),
        )

    def count_traffic(self, run_id: str, *, received: int, sent: int, dense_equivalent: int) -> None:
        self.traffic.append((run_id, received, sent, dense_equivalent))

    async def report_metrics(self, run_id: str, samples: Sequence[MetricSample]) -> None:
        await self._enter("report_metrics", run_id, list(samples))
        self.samples.extend(samples)

    async def query_metrics(
        self, run_id: str, names: Sequence[str], after_version: int, limit: int
    ) -> list[MetricSample]:
        await self._enter("query_metrics", run_id, list(names), after_version, limit)
        return self.samples[:limit]


@dataclass
class FakeMemory:
    """Of runs without a memory; counts every call where the facade counts its own."""

    calls: Counter[str]

    async def describe(self, run_id: str, window: int = 0) -> MemoryView:
        raise self._off("describe")

    async def store(
        self, run_id: str, values: Arrays, gradient: Arrays, loss: float, source: str
    ) -> tuple[int, int]:
        raise self._off("store")

    async def forbid(self, run_id: str, values: Arrays, radius: float, reason: str) -> int:
        raise self._off("forbid")

    async def similar(self, run_id: str, values: Arrays | None, k: int, metric: str) -> tuple[Neighbour, ...]:
        raise self._off("similar")

    async def predict(self, run_id: str, values: Arrays | None, k: int) -> Prediction:
        raise self._off("predict")

    async def warm_starts(self, config: RunConfig, run_id: str = "") -> Sequence[WarmStartCandidate]:
        raise self._off("warm_starts")

    def _off(self, method: str) -> MemoryOffError:
        self.calls[method] += 1
        return MemoryOffError("run 'run-1' has no memory", run_id="run-1")


def server_for(
    facade: FakeFacade,
    *,
    port: int = 0,
    deadlines: DeadlineConfig = BUDGET,
    limits: WireLimits | None = None,
    reflection: bool = False,
    security: ServerSecurity | None = None,
    notice_seconds: float = 0.0,
) -> Server:
    """A server on loopback that offers the fake through the real handlers."""
    config = ServerConfig(
        port=port,
        deadlines=deadlines,
        limits=WireLimits() if limits is None else limits,
        reflection=reflection,
        notice_seconds=notice_seconds,
        security=ServerSecurity() if security is None else security,
    )
    services = [
        coordinator_service(facade, heartbeat_seconds=HEARTBEAT_SECONDS, deadlines=deadlines),
        metrics_service(facade),
        memory_service(FakeMemory(facade.calls)),
        data_service(FakeData(facade.calls)),
        clan_service(FakeClan(facade.calls)),
        prediction_service(FakePrediction(facade.calls)),
        peer_service(PeerDesk(lambda: Fleet(FleetConfig()), lambda: 0.0, max_wait_seconds=0.0)),
    ]
    return Server(config, services)


@contextmanager
def address_where_nobody_listens() -> Iterator[str]:
    """A port that is taken, so that nobody else gets it, but refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def raw_channel(address: str) -> Any:
    """A channel without stubs, for whatever bytes a test wants to send."""
    return grpc.aio.insecure_channel(address)
