"""Whatever arrives at the door is answered with a typed refusal, and the coordinator never sees it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from chronos_common.errors import (
    ChronosError,
    ConfigurationError,
    InvalidRequestError,
    MalformedPayloadError,
    NonFiniteError,
    OverloadedError,
    PayloadTooLargeError,
    UnavailableError,
    UnknownVersionError,
)
from chronos_common.pb.chronos.v1 import coordinator_pb2 as pb
from chronos_common.pb.chronos.v1 import metrics_pb2, run_pb2
from chronos_common.wire import CoordinatorClient, DeadlineConfig, Server, WireLimits
from chronos_common.wire.convert.config import config_to_pb
from chronos_common.wire.limits import CHUNK_BYTES
from chronos_common.wire.status import from_rpc_error
from tests.support.fake_facade import FakeFacade, initial_payload, raw_channel, run_config, server_for

COORDINATOR = "/chronos.v1.CoordinatorService/"
METRICS = "/chronos.v1.MetricsService/"


async def refusal(server: Server, method: str, *messages: bytes | Any, stream: bool = False) -> ChronosError:
    """Sends raw messages to a method and returns the error that comes back."""
    raw = [message if isinstance(message, bytes) else message.SerializeToString() for message in messages]
    kind = "CheckoutVersion" in method or "WatchRun" in method
    async with raw_channel(server.address) as channel:
        try:
            if stream:
                await channel.stream_unary(method)(iter(raw), timeout=10.0)
            elif kind:
                async for _ in channel.unary_stream(method)(raw[0], timeout=10.0):
                    pass
            else:
                await channel.unary_unary(method)(raw[0], timeout=10.0)
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error)
    raise AssertionError("the call was answered")


@pytest.mark.parametrize(
    "method", [f"{COORDINATOR}{name}" for name in ("GetRun", "CreateRun", "WatchRun", "CheckoutVersion")]
)
async def test_bytes_that_are_no_message(server: Server, facade: FakeFacade, method: str) -> None:
    error = await refusal(server, method, b"\xff\xff\xff\xff")
    assert type(error) is MalformedPayloadError
    assert not facade.calls


async def test_bytes_that_are_no_message_in_a_stream(server: Server, facade: FakeFacade) -> None:
    for messages in ([b"\xff\xff\xff"], [commit(100).SerializeToString(), b"\x12\xff\xff"]):
        error = await refusal(server, f"{COORDINATOR}CommitUpdate", *messages, stream=True)
        assert type(error) is MalformedPayloadError
    assert not facade.calls


async def test_a_message_above_the_limit(server: Server, facade: FakeFacade) -> None:
    error = await refusal(
        server, f"{COORDINATOR}CreateRun", pb.CreateRunRequest(initial_payload=bytes(20 << 20))
    )
    assert type(error) is PayloadTooLargeError
    assert error.details["max_message_bytes"] == 16 << 20, "it says what was wrong"
    assert not facade.calls


async def test_a_message_that_the_transport_refuses(server: Server, facade: FakeFacade) -> None:
    error = await refusal(
        server, f"{COORDINATOR}CreateRun", pb.CreateRunRequest(initial_payload=bytes(65 << 20))
    )
    assert type(error) is PayloadTooLargeError
    assert not facade.calls


# --- the stream of a commit ------------------------------------------------------------------------


def commit(payload_bytes: int = 4, chunk: bytes = b"", **changes: Any) -> pb.CommitUpdateRequest:
    fields: dict[str, Any] = {
        "run_id": "run-1",
        "worker_id": "worker-0",
        "incarnation": 1,
        "seq": 1,
        "base": [pb.FragmentVersion(version=3)],
        "work": 1.0,
        "payload_bytes": payload_bytes,
    }
    return pb.CommitUpdateRequest(header=pb.CommitHeader(**{**fields, **changes}), chunk=chunk)


def chunk(data: bytes) -> pb.CommitUpdateRequest:
    return pb.CommitUpdateRequest(chunk=data)


STREAMS: list[tuple[str, Sequence[Any], type[ChronosError]]] = [
    ("nothing", [], InvalidRequestError),
    ("no header", [pb.CommitUpdateRequest()], InvalidRequestError),
    ("chunk before header", [chunk(b"abcd"), commit()], InvalidRequestError),
    ("header twice", [commit(chunk=b"ab"), commit(chunk=b"cd")], InvalidRequestError),
    ("longer than declared", [commit(4, b"abcde")], MalformedPayloadError),
    ("longer in a later chunk", [commit(4, b"ab"), chunk(b"cde")], MalformedPayloadError),
    ("shorter than declared", [commit(4, b"abc")], MalformedPayloadError),
    ("nothing of what is declared", [commit(4)], MalformedPayloadError),
    ("empty chunk", [commit(4, b"ab"), chunk(b""), chunk(b"cd")], MalformedPayloadError),
    ("chunk too large", [commit(CHUNK_BYTES + 1, bytes(CHUNK_BYTES + 1))], MalformedPayloadError),
    ("later chunk too large", [commit(1 << 22, b"a"), chunk(bytes(CHUNK_BYTES + 1))], MalformedPayloadError),
    ("more declared than admitted", [commit(2**40)], PayloadTooLargeError),
    ("skip with payload", [commit(4, b"abcd", skip=True)], InvalidRequestError),
]


@pytest.mark.parametrize(
    ("messages", "expected"), [row[1:] for row in STREAMS], ids=[row[0] for row in STREAMS]
)
async def test_broken_streams(
    server: Server, facade: FakeFacade, messages: Sequence[Any], expected: type[ChronosError]
) -> None:
    error = await refusal(server, f"{COORDINATOR}CommitUpdate", *messages, stream=True)
    assert type(error) is expected
    assert not facade.calls


HEADERS: list[tuple[str, dict[str, Any], type[ChronosError]]] = [
    ("no run", {"run_id": ""}, InvalidRequestError),
    ("control characters", {"run_id": "run\x00"}, InvalidRequestError),
    ("run name too long", {"run_id": "r" * 256}, InvalidRequestError),
    ("no worker", {"worker_id": ""}, InvalidRequestError),
    ("no base", {"base": []}, InvalidRequestError),
    ("two bases", {"base": [pb.FragmentVersion(), pb.FragmentVersion()]}, InvalidRequestError),
    ("another fragment", {"base": [pb.FragmentVersion(fragment="head")]}, UnknownVersionError),
    ("version beyond the store", {"base": [pb.FragmentVersion(version=2**63)]}, InvalidRequestError),
    ("seq 0", {"seq": 0}, InvalidRequestError),
    ("seq beyond the store", {"seq": 2**64 - 1}, InvalidRequestError),
    ("unknown kind", {"kind": 99}, InvalidRequestError),
    ("work NaN", {"work": math.nan}, InvalidRequestError),
    ("work 0", {"work": 0.0}, InvalidRequestError),
    ("work above 1", {"work": 1.5}, InvalidRequestError),
    ("metric NaN", {"metrics": {"outer_loss": math.nan}}, NonFiniteError),
    ("metric infinite", {"metrics": {"outer_loss": -math.inf}}, NonFiniteError),
    ("metric without name", {"metrics": {"": 1.0}}, InvalidRequestError),
    ("too many metrics", {"metrics": {f"m{i}": 1.0 for i in range(1001)}}, InvalidRequestError),
    ("time NaN", {"timing": pb.Timing(compute_seconds=math.nan)}, InvalidRequestError),
    ("time infinite", {"timing": pb.Timing(wait_seconds=math.inf)}, InvalidRequestError),
    ("time negative", {"timing": pb.Timing(communication_seconds=-1.0)}, InvalidRequestError),
]


@pytest.mark.parametrize(
    ("changes", "expected"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS]
)
async def test_bad_commit_headers(
    server: Server, facade: FakeFacade, changes: dict[str, Any], expected: type[ChronosError]
) -> None:
    error = await refusal(server, f"{COORDINATOR}CommitUpdate", commit(4, b"abcd", **changes), stream=True)
    assert type(error) is expected
    assert not facade.calls


async def test_a_bad_header_is_refused_before_its_payload_arrives(server: Server, facade: FakeFacade) -> None:
    """The client never sends the payload that it declares, and the answer comes all the same."""

    async def header_then_silence() -> AsyncIterator[bytes]:
        yield commit(1 << 20, seq=0).SerializeToString()
        await forever()

    async with raw_channel(server.address) as channel:
        call = channel.stream_unary(f"{COORDINATOR}CommitUpdate")(header_then_silence(), timeout=10.0)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def forever() -> None:
    await asyncio.Event().wait()


async def test_an_upload_that_falls_silent_is_given_up(facade: FakeFacade) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield commit(4, b"ab").SerializeToString()
        await forever()

    async with (
        server_for(facade, deadlines=DeadlineConfig(budget_seconds=0.2)) as server,
        raw_channel(server.address) as channel,
    ):
        call = channel.stream_unary(f"{COORDINATOR}CommitUpdate")(half(), timeout=10.0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    error = from_rpc_error(caught.value)
    assert type(error) is UnavailableError
    assert "the worker sent nothing for 0.2 s" in str(error)
    assert not facade.calls


async def test_payloads_beyond_what_is_taken_at_once_are_told_to_come_again(facade: FakeFacade) -> None:
    limits = WireLimits(max_payload_bytes=100, max_in_flight_bytes=150)
    facade.hold = asyncio.Event()
    async with server_for(facade, limits=limits) as server, CoordinatorClient(server.address) as client:
        fields: dict[str, Any] = {"worker_id": "w", "incarnation": 1, "seq": 1, "prev_applied": 0, "base": 0}
        first = asyncio.create_task(client.commit("run-1", payload=bytes(100), **fields))
        await facade.arrived.wait()
        with pytest.raises(OverloadedError):
            await client.commit("run-1", payload=bytes(51), **fields)
        facade.hold.set()
        await first
        await client.commit("run-1", payload=bytes(51), **fields)
    assert facade.calls["commit"] == 2


# --- other requests --------------------------------------------------------------------------------


def create(change: Callable[[run_pb2.RunConfig], object]) -> pb.CreateRunRequest:
    config = config_to_pb(run_config())
    change(config)
    return pb.CreateRunRequest(run_id="run-1", config=config, initial_payload=initial_payload())


def checkout(**changes: Any) -> pb.CheckoutVersionRequest:
    return pb.CheckoutVersionRequest(**{"run_id": "run-1", **changes})


def report(**changes: Any) -> metrics_pb2.ReportMetricsRequest:
    sample = metrics_pb2.MetricSample(**{"name": "outer_loss", "value": 1.0, **changes})
    return metrics_pb2.ReportMetricsRequest(run_id="run-1", samples=[sample])


def requests() -> Iterator[tuple[str, str, Any, type[ChronosError]]]:
    yield "no name", "GetRun", pb.GetRunRequest(), InvalidRequestError
    yield "not printable", "GetRun", pb.GetRunRequest(run_id="a\nb"), InvalidRequestError
    yield "watch", "WatchRun", pb.WatchRunRequest(run_id="r", after_version=2**64 - 1), InvalidRequestError
    yield "long reason", "StopRun", pb.StopRunRequest(run_id="r", reason="x" * 5000), InvalidRequestError
    yield "no instance", "RegisterWorker", pb.RegisterWorkerRequest(worker_id="w"), InvalidRequestError
    held = pb.HeldLease(run_id="r", base=[pb.FragmentVersion(fragment="x")])
    yield (
        "held fragment",
        "Heartbeat",
        pb.HeartbeatRequest(worker_id="w", holding=[held]),
        UnknownVersionError,
    )
    many = pb.HeartbeatRequest(worker_id="w", holding=[pb.HeldLease()] * 10_001)
    yield "held too many", "Heartbeat", many, InvalidRequestError
    yield "except too many", "CheckoutVersion", checkout(except_runs=["r"] * 1001), InvalidRequestError
    yield "except nothing", "CheckoutVersion", checkout(except_runs=[""]), InvalidRequestError
    yield "absurd wait", "CheckoutVersion", checkout(wait=Duration(seconds=10**9)), InvalidRequestError
    yield "negative wait", "CheckoutVersion", checkout(wait=Duration(seconds=-1)), InvalidRequestError
    yield "malformed wait", "CheckoutVersion", checkout(wait=Duration(nanos=2 * 10**9)), InvalidRequestError
    fragment = checkout(known=[pb.FragmentVersion(fragment="x", version=1)])
    yield "unknown fragment", "CheckoutVersion", fragment, UnknownVersionError
    yield "dtype", "CreateRun", create(lambda c: setattr(c.parameters[0], "dtype", 0)), InvalidRequestError
    yield "scale", "CreateRun", create(lambda c: setattr(c.parameters[0], "scale", 77)), InvalidRequestError
    yield "kind", "CreateRun", create(lambda c: setattr(c.work, "kind", 77)), InvalidRequestError
    yield (
        "problem",
        "CreateRun",
        create(lambda c: setattr(c.work, "problem", "x" * 5000)),
        InvalidRequestError,
    )
    yield (
        "json",
        "CreateRun",
        create(lambda c: setattr(c.work, "problem_config_json", "[")),
        ConfigurationError,
    )
    yield "codec", "CreateRun", create(lambda c: setattr(c.compression, "up", "zip")), ConfigurationError
    yield "no parameters", "CreateRun", create(lambda c: c.ClearField("parameters")), ConfigurationError
    option = create(lambda c: c.optimizer.options.update({"lr": 1.0}))
    yield "optimiser option", "CreateRun", option, ConfigurationError
    switch = create(lambda c: c.optimizer.options.update({"nesterov": 0.5}))
    yield "optimiser switch", "CreateRun", switch, ConfigurationError
    nan = create(lambda c: c.optimizer.options.update({"learning_rate": math.nan}))
    yield "optimiser NaN", "CreateRun", nan, ConfigurationError
    bound = create(lambda c: setattr(c.parameters[0], "lower", -1.0))
    yield "bound", "CreateRun", bound, ConfigurationError
    lease = create(lambda c: c.rounds.min_lease.CopyFrom(Duration(seconds=-5)))
    yield "negative lease", "CreateRun", lease, InvalidRequestError
    yield "metric NaN", "ReportMetrics", report(value=math.nan), NonFiniteError
    yield "metric infinite", "ReportMetrics", report(value=math.inf), NonFiniteError
    yield "metric unnamed", "ReportMetrics", report(name=""), InvalidRequestError
    yield "metric time", "ReportMetrics", report(time=Timestamp(seconds=-1)), InvalidRequestError
    samples = [metrics_pb2.MetricSample(name="m", value=1.0)] * 10_001
    flood = metrics_pb2.ReportMetricsRequest(run_id="run-1", samples=samples)
    yield "metric flood", "ReportMetrics", flood, InvalidRequestError
    names = metrics_pb2.QueryMetricsRequest(run_id="run-1", names=["m"] * 1001)
    yield "query flood", "QueryMetrics", names, InvalidRequestError


REQUESTS = list(requests())


@pytest.mark.parametrize(
    ("method", "request_message", "expected"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS]
)
async def test_bad_requests(
    server: Server, facade: FakeFacade, method: str, request_message: Any, expected: type[ChronosError]
) -> None:
    service = METRICS if "Metrics" in method else COORDINATOR
    error = await refusal(server, service + method, request_message)
    assert type(error) is expected
    assert not facade.calls
