"""Tokens and roles over real connections: every RPC of every service, by every role."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from chronos_common.errors import AuthenticationError, ConfigurationError, PermissionDeniedError
from chronos_common.pb.chronos.v1 import (
    clan_pb2,
    coordinator_pb2,
    data_pb2,
    memory_pb2,
    metrics_pb2,
    peers_pb2,
    prediction_pb2,
)
from chronos_common.wire import ClientSecurity, CoordinatorClient, Server, ServerSecurity
from chronos_common.wire.access import RULES
from tests.support.fake_facade import BUDGET, FakeFacade, raw_channel, run_view, server_for

TOKENS = {role: f"{role}-{'0123456789abcdef' * 2}" for role in ("admin", "worker", "reader")}

MAY = {
    "CreateRun": {"admin"},
    "GetRun": {"admin", "worker", "reader"},
    "ListRuns": {"admin", "reader"},
    "WatchRun": {"admin", "reader"},
    "StopRun": {"admin"},
    "VerifyRun": {"admin", "reader"},
    "RegisterWorker": {"admin", "worker"},
    "Heartbeat": {"admin", "worker"},
    "DeregisterWorker": {"admin", "worker"},
    "CheckoutVersion": {"admin", "worker", "reader"},
    "CommitUpdate": {"admin", "worker"},
    "ReportMetrics": {"admin", "worker"},
    "QueryMetrics": {"admin", "reader"},
    "DescribeMemory": {"admin", "worker", "reader"},
    "RetrieveSimilar": {"admin", "worker", "reader"},
    "PredictGradient": {"admin", "worker", "reader"},
    "StoreMemory": {"admin", "worker"},
    "ForbidRegion": {"admin", "worker"},
    "FindWarmStarts": {"admin", "reader"},
    "CreateDataPlan": {"admin", "worker"},
    "DescribeData": {"admin", "worker", "reader"},
    "ListDataPlans": {"admin", "reader"},
    "UploadSizes": {"admin", "worker"},
    "JoinData": {"admin", "worker"},
    "LeaveData": {"admin", "worker"},
    "StreamShares": {"admin", "worker"},
    "FinishShares": {"admin", "worker"},
    "SaveData": {"admin", "worker"},
    "RestoreData": {"admin", "worker"},
    "CreateClan": {"admin", "worker"},
    "DescribeClan": {"admin", "worker", "reader"},
    "ListClans": {"admin", "reader"},
    "WatchClan": {"admin", "worker", "reader"},
    "ReadHistory": {"admin", "worker", "reader"},
    "JoinClan": {"admin", "worker"},
    "LeaveClan": {"admin", "worker"},
    "RemoveMember": {"admin", "worker"},
    "FetchRound": {"admin", "worker"},
    "ReportFitness": {"admin", "worker"},
    "CloseRound": {"admin", "worker"},
    "SaveClan": {"admin", "worker"},
    "RestoreClan": {"admin", "worker"},
    "VerifyClan": {"admin", "reader"},
    "ListDevices": {"admin", "worker", "reader"},
    "PredictTraining": {"admin", "worker", "reader"},
    "ReportSteps": {"admin", "worker"},
    "ReportTraining": {"admin", "worker"},
    "JoinGroup": {"admin", "worker"},
    "WatchGroup": {"admin", "worker"},
    "ReportFailure": {"admin", "worker"},
    "LeaveGroup": {"admin", "worker"},
}
SERVICES = [
    *coordinator_pb2.DESCRIPTOR.services_by_name.values(),
    *metrics_pb2.DESCRIPTOR.services_by_name.values(),
    *memory_pb2.DESCRIPTOR.services_by_name.values(),
    *data_pb2.DESCRIPTOR.services_by_name.values(),
    *clan_pb2.DESCRIPTOR.services_by_name.values(),
    *prediction_pb2.DESCRIPTOR.services_by_name.values(),
    *peers_pb2.DESCRIPTOR.services_by_name.values(),
]
METHODS = {
    f"/{service.full_name}/{method.name}": method for service in SERVICES for method in service.methods
}
TURNED_AWAY = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def write_tokens(path: Path, **changes: str) -> ServerSecurity:
    path.write_text("".join(f"{role} {role}-1 {token}\n" for role, token in {**TOKENS, **changes}.items()))
    return ServerSecurity(token_file=path)


@pytest.fixture
async def guarded(tmp_path: Path, facade: FakeFacade) -> AsyncIterator[Server]:
    security = write_tokens(tmp_path / "tokens")
    async with server_for(facade, security=security, reflection=True) as server:
        yield server


def with_token(path: Path, token: str) -> ClientSecurity:
    path.write_text(token + "\n")
    return ClientSecurity(token_file=path)


async def ended_with(server: Server, path: str, metadata: list[tuple[str, str]], body: bytes = b"") -> Any:
    """The status of a call of any kind with one message."""
    async with raw_channel(server.address) as channel:
        call = channel.stream_stream(path)(iter([body]), metadata=metadata, timeout=5.0)
        try:
            async for _ in call:
                break  # it was let in, and answers
            else:
                return await call.code()
        except grpc.aio.AioRpcError as error:
            return error.code()
        call.cancel()
        return grpc.StatusCode.OK


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def test_every_rpc_of_every_service_has_its_row() -> None:
    assert {path for path in RULES if path.startswith("/chronos.")} == set(METHODS)
    assert {method.name for method in METHODS.values()} == set(MAY)
    assert all("admin" in roles for roles in RULES.values())


@pytest.mark.parametrize("path", sorted(METHODS))
async def test_each_role_may_call_what_is_its_own_and_nothing_else(
    guarded: Server, facade: FakeFacade, path: str
) -> None:
    name = path.rpartition("/")[2]
    for role, token in TOKENS.items():
        code = await ended_with(guarded, path, bearer(token))
        assert (code not in TURNED_AWAY) == (role in MAY[name]), (role, code)
        if role not in MAY[name]:
            assert code is grpc.StatusCode.PERMISSION_DENIED
    before = facade.calls.copy()
    assert await ended_with(guarded, path, []) is grpc.StatusCode.UNAUTHENTICATED
    assert await ended_with(guarded, path, bearer("x" * 40)) is grpc.StatusCode.UNAUTHENTICATED
    assert facade.calls == before


async def test_a_reader_looks_at_a_version_but_takes_no_lease(guarded: Server, tmp_path: Path) -> None:
    security = with_token(tmp_path / "token", TOKENS["reader"])
    async with CoordinatorClient(guarded.address, deadlines=BUDGET, security=security) as client:
        assert (await client.checkout("run-1")).version == 7
        with pytest.raises(
            PermissionDeniedError, match="CheckoutVersion needs a token of role worker or admin"
        ):
            await client.checkout("run-1", worker_id="w", incarnation=1)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic {}", "{}", "Bearer {}x", "Bearer  {}", "bearer\t{}"],
)
async def test_only_a_well_formed_token_counts(guarded: Server, header: str) -> None:
    metadata = [("authorization", header.format(TOKENS["admin"]))]
    code = await ended_with(guarded, "/chronos.v1.CoordinatorService/ListRuns", metadata)
    assert code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INTERNAL)


async def test_two_tokens_are_none(guarded: Server) -> None:
    twice = [*bearer(TOKENS["admin"]), *bearer(TOKENS["admin"])]
    path = "/chronos.v1.CoordinatorService/ListRuns"
    assert await ended_with(guarded, path, twice) is grpc.StatusCode.UNAUTHENTICATED


async def test_health_is_open_and_reflection_is_not(guarded: Server) -> None:
    async with raw_channel(guarded.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service="chronos.v1.CoordinatorService"))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        call = reflection.ServerReflectionInfo(iter([question]))
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        call = reflection.ServerReflectionInfo(iter([question]), metadata=bearer(TOKENS["reader"]))
        names = {service.name for service in (await call.read()).list_services_response.service}
        assert "chronos.v1.CoordinatorService" in names


async def test_tokens_change_on_both_sides_without_a_restart(
    guarded: Server, facade: FakeFacade, tmp_path: Path
) -> None:
    ours, new = tmp_path / "token", "n" * 32
    security = with_token(ours, TOKENS["reader"])
    async with CoordinatorClient(guarded.address, deadlines=BUDGET, security=security) as client:
        assert await client.get_run("run-1") == run_view("run-1")
        write_tokens(tmp_path / "tokens", reader=new)
        with pytest.raises(AuthenticationError, match="does not know the token"):
            await client.get_run("run-1")
        with_token(ours, new)
        assert await client.get_run("run-1") == run_view("run-1")
        (tmp_path / "tokens").write_text("reader")
        assert await client.get_run("run-1") == run_view("run-1")


async def test_a_token_does_not_travel_in_the_open(tmp_path: Path) -> None:
    security = with_token(tmp_path / "token", TOKENS["reader"])
    with pytest.raises(ConfigurationError, match="others can read it: give --tls-ca"):
        CoordinatorClient("coordinator.example:50551", security=security)
    ClientSecurity(token_file=security.token_file, token_without_tls=True)


async def test_secrets_are_in_no_message_and_no_log(
    guarded: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    security = with_token(tmp_path / "token", "s" * 40)
    with caplog.at_level("DEBUG"):
        async with CoordinatorClient(guarded.address, deadlines=BUDGET, security=security) as client:
            with pytest.raises(AuthenticationError) as caught:
                await client.list_runs()
        write_tokens(tmp_path / "tokens", admin="t" * 40, worker="t" * 40)
        await ended_with(guarded, "/chronos.v1.CoordinatorService/ListRuns", bearer("s" * 40))
    said = caplog.text + str(caught.value) + repr(caught.value.details) + repr(guarded)
    assert "call turned away" in said
    assert "new tokens cannot be used" in said
    for secret in (*TOKENS.values(), "s" * 40, "t" * 40):
        assert secret not in said
