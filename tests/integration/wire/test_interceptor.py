"""The guard around handlers, for every kind of call and for services that are not Chronos' own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from chronos_common.errors import OverloadedError, StaleCommitError
from chronos_common.wire import Server, ServerConfig, Service, WireLimits
from chronos_common.wire.admission import Admission
from chronos_common.wire.status import from_rpc_error
from tests.support.fake_facade import raw_channel


class EchoStream(grpc.GenericRpcHandler):
    """A call with streams both ways, under any name."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if str(details.method).endswith("Echo"):
            return grpc.stream_stream_rpc_method_handler(self.echo)
        return None

    async def echo(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            if request == b"stale":
                raise StaleCommitError("too far behind", staleness=3)
            yield request


Observed = list[tuple[str, str, float]]


def echo_service(limits: WireLimits | None = None, observed: Observed | None = None) -> Server:
    def add_to(server: grpc.aio.Server, admission: Admission) -> None:
        server.add_generic_rpc_handlers((EchoStream(),))

    config = ServerConfig(port=0, limits=WireLimits() if limits is None else limits)
    calls: Observed = [] if observed is None else observed
    return Server(
        config,
        [Service(name="chronos.test.Echo", add_to=add_to)],
        observe=lambda method, code, seconds: calls.append((method, code, seconds)),
    )


async def test_streams_both_ways_are_guarded() -> None:
    async with echo_service() as server, raw_channel(server.address) as channel:
        call = channel.stream_stream("/chronos.test.Echo/Echo")(iter([b"a", b"stale", b"b"]), timeout=5.0)
        assert await call.read() == b"a"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    error = from_rpc_error(caught.value)
    assert type(error) is StaleCommitError
    assert error.details == {"staleness": 3}


async def test_every_call_is_observed_with_its_end() -> None:
    observed: Observed = []
    async with echo_service(observed=observed) as server, raw_channel(server.address) as channel:
        method = channel.stream_stream("/chronos.test.Echo/Echo")
        for requests in ([b"a"], [b"a", b"stale"]):
            call = method(iter(requests), timeout=5.0)
            await call.code()
        call = channel.stream_stream("/chronos.test.Nobody/Invented")(iter([b"a"]), timeout=5.0)
        await call.code()
    assert [(name, code) for name, code, _ in observed] == [("Echo", "OK"), ("Echo", "FAILED_PRECONDITION")]
    assert all(0.0 <= seconds < 5.0 for _, _, seconds in observed)


async def test_other_services_are_left_alone() -> None:
    async with echo_service() as server, raw_channel(server.address) as channel:
        call = channel.stream_stream("/somebody.Else/Echo")(iter([b"stale"]), timeout=5.0)
        assert await call.code() is grpc.StatusCode.UNKNOWN


async def test_unknown_methods_stay_unknown() -> None:
    async with echo_service() as server, raw_channel(server.address) as channel:
        call = channel.unary_unary("/chronos.test.Echo/Nothing")(b"", timeout=5.0)
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_stream_counts_as_one_call_until_it_ends() -> None:
    async with echo_service(WireLimits(max_calls=1)) as server, raw_channel(server.address) as channel:
        echo = channel.stream_stream("/chronos.test.Echo/Echo")
        first = echo(timeout=5.0)
        await first.write(b"a")
        assert await first.read() == b"a"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo(iter([b"b"]), timeout=5.0).read()
        assert type(from_rpc_error(caught.value)) is OverloadedError
        await first.done_writing()
        assert await first.read() is grpc.aio.EOF
