"""Every error crosses the wire with its class, sentence and details, and nothing else does."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from chronos_common import errors
from chronos_common.errors import ChronosError, Detail
from chronos_common.pb.chronos.v1 import coordinator_pb2
from chronos_common.wire import CoordinatorClient, Server
from tests.support.fake_facade import FakeFacade, address_where_nobody_listens, raw_channel

ALL_ERRORS = sorted(
    (cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, ChronosError)),
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("cls", ALL_ERRORS)
async def test_every_error_comes_back_as_itself(
    client: CoordinatorClient, facade: FakeFacade, cls: type[ChronosError]
) -> None:
    details: dict[str, Detail] = {"last_applied": 3, "fraction": 0.1, "run_id": "run-1", "field": "7"}
    facade.errors["deregister"] = cls("what was wrong, and what to do: naïve ☃\nsecond line", **details)
    with pytest.raises(cls) as caught:
        await client.deregister("worker-0", 1)
    assert type(caught.value) is cls
    assert caught.value.message == "what was wrong, and what to do: naïve ☃\nsecond line"
    assert caught.value.details == details
    assert {name: type(value) for name, value in caught.value.details.items()} == {
        name: type(value) for name, value in details.items()
    }


@pytest.mark.parametrize("method", ["checkout", "commit"])
@pytest.mark.parametrize(
    "error",
    [
        errors.ChainBrokenError("chain", last_applied=9, seq=12),
        errors.StaleCommitError("stale", base=1, version=5, staleness=4),
    ],
    ids=["chain", "stale"],
)
async def test_streams_carry_errors_as_well(
    client: CoordinatorClient, facade: FakeFacade, method: str, error: ChronosError
) -> None:
    facade.errors[method] = error
    fields: dict[str, Any] = {"worker_id": "w", "incarnation": 1}
    if method == "commit":
        fields |= {"seq": 1, "prev_applied": 0, "base": 0, "payload": bytes(3 << 20)}
    with pytest.raises(type(error)) as caught:
        await getattr(client, method)("run-1", **fields)
    assert caught.value.details == error.details


async def test_an_error_too_long_for_metadata_is_cut_not_lost(
    client: CoordinatorClient, facade: FakeFacade
) -> None:
    facade.errors["deregister"] = errors.NameMismatchError(
        "☃" * 100_000, **{f"d{i}": "é" * 5000 for i in range(50)}
    )
    with pytest.raises(errors.NameMismatchError) as caught:
        await client.deregister("worker-0", 1)
    assert caught.value.message.startswith("☃☃")
    assert caught.value.message.endswith("…")
    assert str(caught.value.details["d0"]).endswith("é…")


async def test_an_unexpected_exception_is_logged_once_and_not_shown(
    client: CoordinatorClient, facade: FakeFacade, caplog: pytest.LogCaptureFixture
) -> None:
    facade.errors["deregister"] = RuntimeError("password=hunter2")
    with pytest.raises(ChronosError) as caught:
        await client.deregister("worker-0", 1)
    assert type(caught.value) is ChronosError
    assert "hunter2" not in str(caught.value)
    (entry,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert entry.startswith("call failed")
    assert "/chronos.v1.CoordinatorService/DeregisterWorker" in entry
    assert "RuntimeError('password=hunter2')" in entry


async def test_an_unexpected_exception_in_a_stream_is_no_different(
    client: CoordinatorClient, facade: FakeFacade, caplog: pytest.LogCaptureFixture
) -> None:
    facade.errors["checkout"] = ZeroDivisionError("internals")
    with pytest.raises(ChronosError) as caught:
        await client.checkout("run-1")
    assert type(caught.value) is ChronosError
    assert "internals" not in str(caught.value)
    (entry,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert entry.startswith("call failed")


async def test_other_languages_find_standard_details(server: Server, facade: FakeFacade) -> None:
    facade.errors["deregister"] = errors.OverloadedError("try later", field="payload", bytes=12)
    request = coordinator_pb2.DeregisterWorkerRequest(worker_id="worker-0")
    async with raw_channel(server.address) as channel:
        call = channel.unary_unary("/chronos.v1.CoordinatorService/DeregisterWorker")(
            request.SerializeToString(), timeout=5.0
        )
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        metadata = dict(await call.trailing_metadata())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    info, request_info, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    assert [
        packed.Unpack(into) for packed, into in zip(status.details, (info, request_info, retry), strict=True)
    ]
    assert (info.reason, info.domain) == ("OVERLOADED", "chronos")
    assert dict(info.metadata) == {"field": "payload", "bytes": "12"}
    assert request_info.field_violations[0].field == "payload"
    assert retry.retry_delay.ToMilliseconds() == 500


async def test_nobody_listens() -> None:
    with address_where_nobody_listens() as address:
        async with CoordinatorClient(address) as client:
            with pytest.raises(errors.UnavailableError, match=f"{address} cannot be reached"):
                await client.deregister("worker-0", 1)


async def test_another_service_listens() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with CoordinatorClient(f"127.0.0.1:{port}") as client:
            with pytest.raises(errors.ConfigurationError, match="does not know this call"):
                await client.get_run("run-1")
    finally:
        await server.stop(None)
