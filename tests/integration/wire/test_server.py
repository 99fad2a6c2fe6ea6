"""Starting, being healthy, draining, stopping."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from chronos_common.errors import ConfigurationError, DrainingError, OverloadedError, UnavailableError
from chronos_common.wire import CoordinatorClient, DeadlineConfig, Server, ServerConfig, WireLimits
from chronos_common.wire.limits import CHUNK_BYTES
from chronos_common.wire.transport import MEMORY_SERVICE, PEER_SERVICE
from tests.support.fake_facade import BUDGET, FakeFacade, raw_channel, run_view, server_for

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_taken_port_is_an_error_that_names_it(server: Server, facade: FakeFacade) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"cannot listen on 127\.0\.0\.1:{server.port}: another process"
    ):
        await server_for(facade, port=server.port).start()


async def test_a_port_that_is_taken_in_the_last_moment(
    server: Server, facade: FakeFacade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chronos_common.wire.server._require_free", lambda host, port: None)
    with pytest.raises(ConfigurationError, match=rf"cannot listen on 127\.0\.0\.1:{server.port}"):
        await server_for(facade, port=server.port).start()


async def test_a_host_that_is_not_ours(facade: FakeFacade) -> None:
    with pytest.raises(ConfigurationError, match="cannot listen on"):
        await Server(ServerConfig(host="192.0.2.1", port=0), []).start()


async def test_every_service_reports_its_health(server: Server) -> None:
    async with raw_channel(server.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        for name in (
            "",
            "chronos.v1.CoordinatorService",
            "chronos.v1.MetricsService",
            MEMORY_SERVICE,
            PEER_SERVICE,
        ):
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="chronos.v1.Nobody"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_client_waits_until_the_coordinator_serves(facade: FakeFacade) -> None:
    server = server_for(facade)
    await server.start()
    port = server.port
    await server.stop()
    async with CoordinatorClient(server.address, deadlines=BUDGET) as client:
        waiting = asyncio.create_task(client.wait_until_serving(10.0))
        async with server_for(facade, port=port):
            await waiting
        with pytest.raises(UnavailableError):
            await client.wait_until_serving(0.1)


async def test_reflection_is_off_unless_asked_for(facade: FakeFacade) -> None:
    for wanted in (False, True):
        async with (
            server_for(facade, reflection=wanted) as server,
            raw_channel(server.address) as channel,
        ):
            stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
            call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
            if wanted:
                answer = await call.read()
                names = {service.name for service in answer.list_services_response.service}
                assert {"chronos.v1.CoordinatorService", "chronos.v1.MetricsService", MEMORY_SERVICE} <= names
            else:
                assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_draining_finishes_what_was_accepted_and_refuses_the_rest(facade: FakeFacade) -> None:
    facade.hold = asyncio.Event()
    server = server_for(facade)
    await server.start()
    async with (
        CoordinatorClient(server.address, deadlines=BUDGET) as client,
        raw_channel(server.address) as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="chronos.v1.CoordinatorService"))
        assert (await watch.read()).status == SERVING
        accepted = asyncio.create_task(client.get_run("run-1"))
        await facade.arrived.wait()
        stopping = asyncio.create_task(server.stop())
        assert (await watch.read()).status == NOT_SERVING
        with pytest.raises(DrainingError):
            await client.deregister("worker-0", 1)
        with pytest.raises(UnavailableError, match="is not serving"):
            await client.wait_until_serving(5.0)
        assert not stopping.done()
        facade.hold.set()
        assert await accepted == run_view("run-1")
        await stopping
        await server.stop()
        await server.wait()
        with pytest.raises(UnavailableError):
            await client.deregister("worker-0", 1)
    assert facade.calls == {"run_view": 1}


async def test_draining_ends_checkouts_and_watches_that_wait(facade: FakeFacade) -> None:
    facade.hold = asyncio.Event()
    server = server_for(facade)
    await server.start()
    async with CoordinatorClient(server.address, deadlines=BUDGET) as client:
        checkout = asyncio.create_task(client.checkout("run-1", wait_seconds=60.0))
        await facade.arrived.wait()
        facade.hold = None
        updates = client.watch_run("run-1", give_up_seconds=0.0)
        await anext(updates)
        update = asyncio.ensure_future(anext(updates))
        await asyncio.sleep(0)
        async with asyncio.timeout(4.0):
            await server.stop()
            with pytest.raises(DrainingError):
                await checkout
            with pytest.raises(UnavailableError):
                await update


async def test_draining_lets_a_payload_under_way_arrive(facade: FakeFacade) -> None:
    facade.payload = bytes(40 * CHUNK_BYTES)
    server = server_for(facade)
    await server.start()
    async with raw_channel(server.address) as channel:
        call = channel.unary_stream("/chronos.v1.CoordinatorService/CheckoutVersion")(b"", timeout=10.0)
        received = len(await call.read())
        stopping = asyncio.create_task(server.stop())
        while message := await call.read():
            received += len(message)
        assert received > 40 * CHUNK_BYTES
        assert await call.code() is grpc.StatusCode.OK
        await stopping


async def test_a_drain_ends_although_a_call_does_not(facade: FakeFacade) -> None:
    facade.hold = asyncio.Event()
    server = server_for(facade, deadlines=DeadlineConfig(budget_seconds=0.2))
    await server.start()
    async with CoordinatorClient(server.address, deadlines=BUDGET) as client:
        hanging = asyncio.create_task(client.deregister("worker-0", 1))
        await facade.arrived.wait()
        await server.stop()
        with pytest.raises(UnavailableError):
            await hanging


async def test_calls_above_the_limit_are_told_to_come_again(facade: FakeFacade) -> None:
    facade.hold = asyncio.Event()
    async with (
        server_for(facade, limits=WireLimits(max_calls=1)) as server,
        CoordinatorClient(server.address, deadlines=BUDGET) as client,
    ):
        first = asyncio.create_task(client.deregister("worker-0", 1))
        await facade.arrived.wait()
        with pytest.raises(OverloadedError):
            await client.deregister("worker-1", 1)
        facade.hold.set()
        await first
        await client.deregister("worker-1", 1)


async def test_a_server_that_never_started_stops_and_waits_for_nothing(facade: FakeFacade) -> None:
    server = server_for(facade)
    await server.wait()
    await server.stop()


async def test_a_client_that_goes_away_frees_its_place(facade: FakeFacade) -> None:
    facade.hold = asyncio.Event()
    async with server_for(facade, limits=WireLimits(max_calls=1)) as server:
        async with CoordinatorClient(server.address, deadlines=BUDGET) as client:
            waiting = asyncio.create_task(client.checkout("run-1", wait_seconds=60.0))
            await facade.arrived.wait()
            waiting.cancel()
            await asyncio.wait({waiting})
        facade.hold = None
        async with CoordinatorClient(server.address, deadlines=BUDGET) as other:
            # Repeated by the client while the place is still being freed.
            assert await other.get_run("run-1") == run_view("run-1")


async def test_a_port_stays_open_to_say_that_it_closes(facade: FakeFacade) -> None:
    server = server_for(facade, notice_seconds=30.0)
    await server.start()
    async with CoordinatorClient(server.address, deadlines=BUDGET) as client:
        await client.deregister("worker-0", 1)
        server.refuse()
        for _ in range(3):
            with pytest.raises(DrainingError) as caught:
                await client.deregister("worker-0", 1)
        cause = caught.value.__cause__
        assert isinstance(cause, grpc.aio.AioRpcError)
        status: Any = rpc_status.from_call(cause)
        retry = error_details_pb2.RetryInfo()
        assert any(packed.Unpack(retry) for packed in status.details)
        assert retry.retry_delay.ToMilliseconds() == 500
        async with asyncio.timeout(20.0):  # the budget, 5 s, bounds the notice
            await server.stop()


def test_a_notice_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="notice_seconds"):
        ServerConfig(notice_seconds=-1.0)
