"""Every method of the client reaches the coordinator with what was given, and returns what it said."""

from __future__ import annotations

import asyncio
import threading

import pytest

from chronos_common.engine import MetricSample, VersionPart
from chronos_common.errors import PayloadTooLargeError
from chronos_common.wire import CoordinatorClient, Server, SyncCoordinatorClient, WireLimits
from chronos_common.wire.limits import CHUNK_BYTES
from tests.support.fake_facade import (
    BUDGET,
    HEARTBEAT_SECONDS,
    FakeFacade,
    initial_payload,
    run_config,
    run_view,
    server_for,
    version_record,
)


async def test_create_run_carries_definition_and_values(
    client: CoordinatorClient, facade: FakeFacade
) -> None:
    config = run_config(max_versions=11)
    view = await client.create_run(config, initial_payload(), run_id="mine")
    assert view.run_id == "mine"
    assert view.config == config
    assert facade.queries == [("mine", config, initial_payload())]


async def test_create_run_names_the_run_itself_so_that_a_repeat_is_harmless(
    client: CoordinatorClient, facade: FakeFacade
) -> None:
    view = await client.create_run(run_config(), initial_payload())
    assert view.run_id.startswith("run-")
    assert facade.queries[0][0] == view.run_id


async def test_create_run_refuses_values_above_the_message_limit_before_sending(
    client: CoordinatorClient, facade: FakeFacade
) -> None:
    with pytest.raises(PayloadTooLargeError, match="above the limit"):
        await client.create_run(run_config(), bytes(17 << 20))
    assert not facade.calls


async def test_runs_are_read_whole(client: CoordinatorClient) -> None:
    assert await client.get_run("run-1") == run_view("run-1")
    assert await client.list_runs() == [run_view("run-2"), run_view("run-1")]


async def test_stop_and_verify(client: CoordinatorClient, facade: FakeFacade) -> None:
    stopped = await client.stop_run("run-1", reason="enough")
    assert (stopped.status, stopped.reason) == ("stopped", "enough")
    report = await client.verify_run("run-1")
    assert (report.clean, report.versions, report.entries) == (False, 7, 30)
    assert (report.problem, report.from_version) == ("digest of version 3", 1)
    await client.verify_run("run-1", from_snapshot=True)
    assert facade.queries == [("run-1", "enough"), ("run-1",), ("run-1", "from_snapshot")]


async def test_membership(client: CoordinatorClient, facade: FakeFacade) -> None:
    registered = await client.register("worker-0", "instance", device="cuda:0")
    assert registered.incarnation == 4
    assert registered.heartbeat_seconds == HEARTBEAT_SECONDS
    assert registered.chains == {"run-1": 9}
    assert registered.max_payload_bytes == WireLimits().max_payload_bytes
    assert await client.heartbeat("worker-0", 4, holding=[("run-1", 7), ("run-9", 0)]) == ("run-9",)
    await client.deregister("worker-0", 4, reason="done")
    assert facade.queries == [
        ("worker-0", "instance", "cuda:0"),
        ("worker-0", 4, [("run-1", 7), ("run-9", 0)]),
        ("worker-0", 4, "done"),
    ]


async def test_a_heartbeat_counts_for_the_run_that_its_worker_works_on(
    client: CoordinatorClient, facade: FakeFacade
) -> None:
    await client.heartbeat("worker-0", 4)
    await client.heartbeat("worker-0", 4, holding=[("run-1", 7)])
    ((run_id, received, sent, dense),) = facade.traffic
    assert run_id == "run-1"
    assert received > 0
    assert sent > 0
    assert dense == received + sent


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
async def test_checkout_brings_the_payload_and_counts_it(
    client: CoordinatorClient, facade: FakeFacade, size: int
) -> None:
    facade.payload = bytes(i % 251 for i in range(1000)) * (size // 1000) + bytes(size % 1000)
    result = await client.checkout("run-1", worker_id="worker-0", incarnation=4, known=6, min_version=7)
    assert result.snapshot == facade.payload
    assert (result.run_id, result.version, result.digest) == ("run-1", 7, "cd" * 32)
    assert (result.work_seconds, result.shard, result.last_applied) == (12.5, (1, 3), 9)
    assert (result.status, result.not_modified) == ("active", False)
    ((run_id, received, sent, dense),) = facade.traffic
    assert (run_id, received, sent) == ("run-1", result.bytes_sent, result.bytes_received)
    assert dense == received + sent, "a dense payload costs what a dense payload costs"
    query = facade.queries[0][0]
    assert (query.worker_id, query.incarnation, query.known, query.min_version) == ("worker-0", 4, 6, 7)


async def test_checkout_of_a_version_that_the_client_holds_sends_no_payload(
    client: CoordinatorClient, facade: FakeFacade
) -> None:
    facade.payload = bytes(2 * CHUNK_BYTES)
    result = await client.checkout("run-1", known=7)
    assert result.not_modified
    assert result.snapshot is None
    ((_, received, sent, dense),) = facade.traffic
    assert sent == result.bytes_received < 200
    whole = await client.checkout("run-1")
    (_, received_whole, sent_whole, dense_whole) = facade.traffic[1]
    assert sent_whole == whole.bytes_received == dense_whole - received_whole
    assert dense - received == dense_whole - received_whole, "what a dense checkout would have moved"


async def test_deltas_arrive_in_order_and_count_as_the_value_that_they_replace(
    client: CoordinatorClient, facade: FakeFacade
) -> None:
    facade.payload = bytes(2 * CHUNK_BYTES)
    deltas = [bytes([number]) * (CHUNK_BYTES // 3 + number) for number in range(1, 5)]
    facade.deltas = tuple(
        VersionPart(version=3 + number, is_delta=True, payload=payload)
        for number, payload in enumerate(deltas, start=1)
    )
    result = await client.checkout("run-1", known=3)
    assert result.parts == facade.deltas
    assert result.snapshot is None
    await client.checkout("run-1")
    (_, received, sent, dense), (_, _, whole, _) = facade.traffic
    assert sent == result.bytes_received < dense - received == whole


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
async def test_commit_carries_the_payload_and_counts_it(
    client: CoordinatorClient, facade: FakeFacade, size: int
) -> None:
    facade.payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    result = await client.commit(
        "run-1",
        worker_id="worker-0",
        incarnation=4,
        seq=10,
        prev_applied=9,
        base=7,
        payload=facade.payload,
        work=0.5,
        samples=64,
        tasks=2,
        metrics={"outer_loss": 0.5},
        timing={"compute": 1.5, "wait": 0.25},
    )
    assert (result.staleness, result.weight, result.version) == (1, 0.5, 8)
    assert (result.duplicate, result.last_applied, result.status) == (True, 10, "active")
    ((run_id, query),) = facade.queries
    assert run_id == "run-1"
    assert query.payload == facade.payload
    assert (query.worker_id, query.incarnation, query.seq) == ("worker-0", 4, 10)
    assert (query.prev_applied, query.base, query.kind) == (9, 7, "hypergradient")
    assert (query.work, query.samples, query.tasks) == (0.5, 64, 2)
    assert query.metrics == {"outer_loss": 0.5}
    assert query.timing == {"compute": 1.5, "wait": 0.25, "communication": 0.0}
    ((_, received, sent, dense),) = facade.traffic
    assert (received, sent) == (result.bytes_sent, result.bytes_received)
    assert dense == received + sent


async def test_a_skip_is_one_small_message(client: CoordinatorClient, facade: FakeFacade) -> None:
    facade.payload = bytes(100_000)
    result = await client.commit(
        "run-1", worker_id="worker-0", incarnation=4, seq=1, prev_applied=0, base=7, payload=None
    )
    assert facade.queries[0][1].payload is None
    ((_, received, _, dense),) = facade.traffic
    assert received == result.bytes_sent < 100
    assert dense > 100_000


async def test_commit_above_the_clients_limit_is_not_sent(facade: FakeFacade) -> None:
    limits = WireLimits(max_payload_bytes=10)
    async with server_for(facade) as server, CoordinatorClient(server.address, limits=limits) as client:
        with pytest.raises(PayloadTooLargeError):
            await client.commit(
                "run-1", worker_id="w", incarnation=1, seq=1, prev_applied=0, base=0, payload=bytes(11)
            )
    assert not facade.calls


async def test_metrics_there_and_back(client: CoordinatorClient, facade: FakeFacade) -> None:
    samples = [
        MetricSample(name="outer_loss", value=0.5, version=3, worker_id="worker-0", time=1_700_000_000.25),
        MetricSample(name="accuracy", value=-1.0),
    ]
    await client.report_metrics("run-1", samples)
    assert facade.samples == samples
    assert await client.query_metrics("run-1", ["outer_loss"], after_version=2, limit=1) == samples[:1]
    assert await client.query_metrics("run-1") == samples
    assert facade.queries[1:] == [("run-1", ["outer_loss"], 2, 1), ("run-1", [], 0, 10_000)]


async def test_watch_yields_every_version_until_the_run_ends(
    client: CoordinatorClient, facade: FakeFacade
) -> None:
    facade.records = [version_record(version) for version in (1, 2, 3)]
    facade.final_status = "finished"
    updates = [update async for update in client.watch_run("run-1", after_version=1)]
    assert [update.record for update in updates] == [None, version_record(2), version_record(3), None]
    assert [update.status for update in updates] == ["active", "active", "active", "finished"]


def test_the_blocking_client_does_the_same(facade: FakeFacade) -> None:
    """Without a running loop: the server has one of its own, as in a notebook next to a service."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(_started(facade), loop).result()
        with SyncCoordinatorClient(server.address, deadlines=BUDGET) as client:
            client.wait_until_serving(5.0)
            assert client.get_run("run-1") == run_view("run-1")
            facade.records = [version_record(1), version_record(2)]
            facade.final_status = "stopped"
            assert [update.status for update in client.watch_run("run-1")][-1] == "stopped"
            first = next(iter(client.watch_run("run-1", after_version=1)))
            assert first.record is None
            assert client.checkout("run-1").snapshot == facade.payload
        client.close()
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _started(facade: FakeFacade) -> Server:
    server = server_for(facade)
    await server.start()
    return server
