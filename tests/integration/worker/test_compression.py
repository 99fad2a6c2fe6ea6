"""Runs that compress both ways, over gRPC and SQLite: exact, smaller, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from chronos_common.codec import decode, encode
from chronos_common.compression import PipelineConfig, SignificanceConfig
from chronos_common.engine import FINISHED, CheckoutQuery, CompressionConfig, Replica, RunView, WorkSpec
from chronos_common.engine.local import LocalResult, describe_run, optimize
from chronos_common.errors import RunNotActiveError
from chronos_common.metrics import WorkerMetrics
from chronos_common.outer import OuterConfig
from chronos_common.tensors import digest
from chronos_common.versions import RoundConfig
from chronos_common.wire import CoordinatorClient
from chronos_worker import Worker, WorkerConfig
from tests.support.problems import Shifts
from tests.support.services import LEASES, RUN, serving, worker

SIZE = 20_000
VERSIONS = 30
OUTER = OuterConfig(name="adam", learning_rate=0.1)
BOTH = CompressionConfig.named("topk10+int8", "topk10+int8")


async def create(client: CoordinatorClient, compression: CompressionConfig = BOTH, **changes: Any) -> RunView:
    settings: dict[str, Any] = {"rounds": RoundConfig(quorum=1), "max_versions": VERSIONS} | changes
    config, start = describe_run(
        Shifts(size=SIZE),
        work=WorkSpec(
            problem="tests.support.problems:Shifts", problem_config=json.dumps({"size": SIZE}), inner_steps=2
        ),
        outer=OUTER,
        leases=LEASES,
        compression=compression,
        **settings,
    )
    return await client.create_run(config, encode("identity", start), run_id=RUN)


def local(compression: CompressionConfig = BOTH) -> LocalResult:
    return optimize(Shifts(size=SIZE), outer=OUTER, versions=VERSIONS, inner_steps=2, compression=compression)


async def newest(client: CoordinatorClient) -> dict[str, Any]:
    result = await client.checkout(RUN)
    assert result.snapshot is not None
    return decode(result.snapshot)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("compression", [BOTH, CompressionConfig.named("topk5", "int8")])
async def test_one_worker_equals_the_loop_that_compresses_alike(
    tmp_path: Path, compression: CompressionConfig
) -> None:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        await create(client, compression)
        await worker(app.address).run()
        served, view, report = await newest(client), await client.get_run(RUN), await client.verify_run(RUN)
    alone = local(compression)
    assert digest(served) == digest(alone.stored)
    assert digest(alone.stored) != digest(alone.master)
    assert (view.status, view.accepted, view.refused, report.clean) == (FINISHED, VERSIONS, 0, True)


@pytest.mark.timeout(60)
async def test_a_coordinator_that_came_back_owes_what_it_owed(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        address = app.address
        async with CoordinatorClient(address) as client:
            await create(client)
            working = asyncio.create_task(worker(address).run())
            async for update in client.watch_run(RUN):
                if update.record is not None and update.record.version >= VERSIONS // 3:
                    break
    async with serving(tmp_path, int(address.rpartition(":")[2])), CoordinatorClient(address) as client:
        await working
        served, report = await newest(client), await client.verify_run(RUN)
    assert digest(served) == digest(local().stored)
    assert report.clean


@pytest.mark.timeout(60)
async def test_three_workers_move_a_fraction_and_end_where_one_ends(tmp_path: Path) -> None:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        await create(client, rounds=RoundConfig(), max_versions=150)
        await asyncio.gather(*(worker(app.address, name).run() for name in "abc"))
        served, view, report = await newest(client), await client.get_run(RUN), await client.verify_run(RUN)
    assert (view.status, view.refused, report.clean) == (FINISHED, 0, True)
    moved = view.bytes_received + view.bytes_sent
    assert moved < 0.15 * view.bytes_dense
    away = served["shift"] - Shifts(size=SIZE).target.numpy()
    assert np.sqrt(np.mean(away**2)) < 0.1, "it began at 1"


@pytest.mark.timeout(60)
async def test_readers_follow_by_deltas(tmp_path: Path) -> None:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        view = await create(client)
        replica = Replica(view.config.parameters)
        working = asyncio.create_task(worker(app.address).run())
        received = []
        while replica.version != VERSIONS:
            least = 0 if replica.version is None else replica.version + 1
            answer = await client.checkout(RUN, known=replica.version, min_version=least, wait_seconds=20.0)
            replica.take(answer.version, answer.digest, answer.parts)
            received.append(answer)
        await working
        durable = await app.coordinator.checkout(CheckoutQuery(run_id=RUN))
    assert received[-1].digest == durable.digest
    assert all(part.is_delta for answer in received[1:] for part in answer.parts)
    assert (
        sum(len(part.payload) for answer in received[1:] for part in answer.parts) < 0.2 * VERSIONS * 8 * SIZE
    )


@pytest.mark.timeout(60)
async def test_a_checkout_costs_what_is_new_and_no_more_than_a_snapshot(tmp_path: Path) -> None:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        await create(client, CompressionConfig.named("int8", "int8"), max_versions=12)
        await worker(app.address).run()
        before = await client.get_run(RUN)
        same, last, older, oldest = [await client.checkout(RUN, known=version) for version in (12, 11, 9, 0)]
        after = await client.get_run(RUN)
        with pytest.raises(RunNotActiveError):
            await client.checkout(RUN, worker_id="w", incarnation=1)
        failed = await client.get_run(RUN)
    assert 0 < failed.bytes_received - after.bytes_received < 100
    assert failed.bytes_sent == after.bytes_sent
    assert (same.not_modified, same.parts) == (True, ())
    assert same.bytes_received < 250
    assert [(part.version, part.is_delta) for part in older.parts] == [(10, True), (11, True), (12, True)]
    delta = SIZE * 1.02  # a byte for each value, and the scales
    assert delta < last.bytes_received < delta + 500
    assert 3 * delta < older.bytes_received < 3 * (delta + 500)
    assert [part.is_delta for part in oldest.parts] == [False], (
        "twelve deltas are more than eight bytes a value"
    )
    assert 8 * SIZE < oldest.bytes_received < 8 * SIZE + 500
    answers = (same, last, older, oldest)
    assert after.bytes_sent - before.bytes_sent == sum(answer.bytes_received for answer in answers)
    assert after.bytes_received - before.bytes_received == sum(answer.bytes_sent for answer in answers)
    assert after.bytes_dense - before.bytes_dense > 4 * 8 * SIZE


@pytest.mark.timeout(60)
async def test_the_ledgers_of_both_ends_balance(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    waiting = CompressionConfig(
        up=PipelineConfig(name="topk5+int8"),
        down=PipelineConfig(name="topk10+int8"),
        significance=SignificanceConfig(minimum=0.5, maximum=5.0, max_skips=3),
    )
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        await create(client, waiting)
        await Worker(
            WorkerConfig(
                coordinator=app.address, worker_id="w", run_id=RUN, problems=("tests.support.problems:*",)
            ),
            metrics=WorkerMetrics(registry),
        ).run()
        view = await client.get_run(RUN)
        server = {
            term: app.registry.get_sample_value("chronos_ledger_mass", {"run": RUN, "term": term}) or 0.0
            for term in ("produced", "applied", "open", "discounted", "discarded", "gross")
        }
    sent = {
        term: registry.get_sample_value("chronos_worker_ledger_mass", {"term": term}) or 0.0
        for term in ("produced", "applied", "residual", "pending", "discounted", "discarded", "lost", "gross")
    }
    assert view.skipped > 0
    assert sent["gross"] > 0.0
    owed = sent["applied"] + sent["residual"] + sent["pending"] + sent["discounted"] + sent["discarded"]
    assert sent["produced"] == pytest.approx(owed + sent["lost"], abs=1e-9 * sent["gross"])
    assert sent["applied"] == pytest.approx(server["produced"], abs=1e-9 * sent["gross"])
    booked = server["applied"] + server["open"] + server["discounted"] + server["discarded"]
    assert server["produced"] == pytest.approx(booked, abs=1e-9 * server["gross"])
    assert app.registry.get_sample_value("chronos_downlink_density", {"run": RUN}) is not None
