"""Handlers of ``chronos.v1.CoordinatorService``: convert, call, convert.

They decide nothing and abort nothing: what they raise becomes a status in
``chronos_common.wire.interceptor``. The bytes of commits and checkouts are counted here, since only here
are they messages.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import grpc

from chronos_common.engine import (
    CheckoutAnswer,
    CheckoutQuery,
    CommitAnswer,
    CommitQuery,
    RegistrationAnswer,
    RunConfig,
    RunView,
    VerifyReport,
    VersionRecord,
)
from chronos_common.errors import ChronosError
from chronos_common.pb.chronos.v1 import coordinator_pb2 as pb
from chronos_common.pb.chronos.v1.coordinator_pb2_grpc import (
    CoordinatorServiceServicer,
    add_CoordinatorServiceServicer_to_server,
)
from chronos_common.prediction.machine import Machine
from chronos_common.wire.admission import Admission
from chronos_common.wire.chunks import PayloadReader, chunk_messages, framed_bytes, message_bytes
from chronos_common.wire.convert import calls, scalars, views
from chronos_common.wire.convert.config import config_from_pb
from chronos_common.wire.convert.prediction import machine_from_pb
from chronos_common.wire.deadlines import DeadlineConfig
from chronos_common.wire.server import Service
from chronos_common.wire.transport import COORDINATOR_SERVICE
from chronos_coordinator.memory_desk import WarmStart

Context = grpc.aio.ServicerContext[Any, Any]


class Facade(Protocol):
    """What the handlers need of a coordinator; every method raises ``ChronosError``."""

    async def create_run(
        self, run_id: str, config: RunConfig, initial_payload: bytes, warm_start: WarmStart | None = None
    ) -> RunView: ...

    async def run_view(self, run_id: str) -> RunView: ...

    async def list_runs(self) -> list[RunView]: ...

    def watch(self, run_id: str, after_version: int) -> AsyncIterator[tuple[VersionRecord | None, str]]: ...

    async def stop_run(self, run_id: str, reason: str) -> RunView: ...

    async def verify_run(self, run_id: str, *, from_snapshot: bool = False) -> VerifyReport: ...

    async def register(
        self, worker_id: str, instance_id: str, device: str, machine: Machine | None = None
    ) -> RegistrationAnswer: ...

    async def heartbeat(
        self, worker_id: str, incarnation: int, holding: Sequence[tuple[str, int]]
    ) -> list[str]: ...

    async def deregister(self, worker_id: str, incarnation: int, reason: str) -> None: ...

    async def checkout(self, query: CheckoutQuery) -> CheckoutAnswer: ...

    async def commit(self, run_id: str, query: CommitQuery) -> CommitAnswer: ...

    def count_traffic(self, run_id: str, *, received: int, sent: int, dense_equivalent: int) -> None: ...


def coordinator_service(
    facade: Facade, *, heartbeat_seconds: float, deadlines: DeadlineConfig | None = None
) -> Service:
    """The service, to be given to a :class:`chronos_common.wire.Server`.

    Args:
        facade: the coordinator.
        heartbeat_seconds: how often workers are told to prove that they live.
        deadlines: the server's deadline budget.
    """
    budget = DeadlineConfig() if deadlines is None else deadlines

    def add_to(server: grpc.aio.Server, admission: Admission) -> None:
        handlers = CoordinatorHandlers(
            facade, admission, heartbeat_seconds=heartbeat_seconds, deadlines=budget
        )
        add_CoordinatorServiceServicer_to_server(handlers, server)

    return Service(name=COORDINATOR_SERVICE, add_to=add_to)


class CoordinatorHandlers(CoordinatorServiceServicer):
    """One method for each RPC; see the contract for what they do."""

    def __init__(
        self, facade: Facade, admission: Admission, *, heartbeat_seconds: float, deadlines: DeadlineConfig
    ) -> None:
        self._facade = facade
        self._admission = admission
        self._heartbeat_seconds = heartbeat_seconds
        self._deadlines = deadlines

    # --- runs ------------------------------------------------------------------------------------

    async def CreateRun(self, request: pb.CreateRunRequest, context: Context) -> pb.CreateRunResponse:  # noqa: N802
        run_id = scalars.name_from_pb(request.run_id, "run_id", optional=True)
        with self._admission.payload(len(request.initial_payload)):
            config = config_from_pb(request.config)
            source = scalars.name_from_pb(request.warm_start, "warm_start", optional=True)
            warm = WarmStart(run_id=source, keep_optimizer=request.warm_start_optimizer) if source else None
            view = await self._facade.create_run(run_id, config, request.initial_payload, warm)
        return pb.CreateRunResponse(run=views.run_to_pb(view))

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:  # noqa: N802
        view = await self._facade.run_view(_run_id(request))
        return pb.GetRunResponse(run=views.run_to_pb(view))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:  # noqa: N802
        return pb.ListRunsResponse(runs=[views.run_to_pb(view) for view in await self._facade.list_runs()])

    async def WatchRun(  # noqa: N802
        self, request: pb.WatchRunRequest, context: Context
    ) -> AsyncIterator[pb.WatchRunResponse]:
        run_id = _run_id(request)
        after_version = scalars.count_from_pb(request.after_version, "after_version")
        # At once, so that a client can tell a quiet run from a coordinator that is not there.
        yield pb.WatchRunResponse(status=scalars.status_to_pb((await self._facade.run_view(run_id)).status))
        async for record, status in self._facade.watch(run_id, after_version):
            event = None if record is None else views.event_to_pb(record)
            yield pb.WatchRunResponse(event=event, status=scalars.status_to_pb(status))

    async def StopRun(self, request: pb.StopRunRequest, context: Context) -> pb.StopRunResponse:  # noqa: N802
        reason = scalars.text_from_pb(request.reason, "reason")
        view = await self._facade.stop_run(_run_id(request), reason)
        return pb.StopRunResponse(run=views.run_to_pb(view))

    async def VerifyRun(self, request: pb.VerifyRunRequest, context: Context) -> pb.VerifyRunResponse:  # noqa: N802
        report = await self._facade.verify_run(_run_id(request), from_snapshot=request.from_snapshot)
        return views.report_to_pb(report)

    # --- workers ---------------------------------------------------------------------------------

    async def RegisterWorker(  # noqa: N802
        self, request: pb.RegisterWorkerRequest, context: Context
    ) -> pb.RegisterWorkerResponse:
        answer = await self._facade.register(
            scalars.name_from_pb(request.worker_id, "worker_id"),
            scalars.name_from_pb(request.instance_id, "instance_id"),
            scalars.text_from_pb(request.device, "device"),
            machine_from_pb(request.machine) if request.HasField("machine") else None,
        )
        return pb.RegisterWorkerResponse(
            incarnation=answer.incarnation,
            heartbeat_interval=scalars.duration_to_pb(self._heartbeat_seconds),
            chains=[pb.Chain(run_id=run_id, last_applied=last) for run_id, last in answer.chains.items()],
            max_payload_bytes=self._admission.limits.max_payload_bytes,
        )

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Context) -> pb.HeartbeatResponse:  # noqa: N802
        holding = calls.holding_from_pb(request.holding)
        ended = await self._facade.heartbeat(*_process(request), holding)
        response = pb.HeartbeatResponse(ended_runs=ended)
        received, sent = message_bytes(request), message_bytes(response)
        for run_id in [held for held, _ in holding][:1]:  # a worker works on one run at a time
            self._facade.count_traffic(run_id, received=received, sent=sent, dense_equivalent=received + sent)
        return response

    async def DeregisterWorker(  # noqa: N802
        self, request: pb.DeregisterWorkerRequest, context: Context
    ) -> pb.DeregisterWorkerResponse:
        reason = scalars.text_from_pb(request.reason, "reason")
        await self._facade.deregister(*_process(request), reason)
        return pb.DeregisterWorkerResponse()

    async def CheckoutVersion(  # noqa: N802
        self, request: pb.CheckoutVersionRequest, context: Context
    ) -> AsyncIterator[pb.CheckoutVersionResponse]:
        query = calls.checkout_query_from_pb(request, max_wait_seconds=self._deadlines.max_wait_seconds)
        received, sent = message_bytes(request), 0
        try:
            answer = await self._facade.checkout(query)
        except ChronosError:
            self._facade.count_traffic(query.run_id, received=received, sent=0, dense_equivalent=received)
            raise
        header = calls.checkout_header_to_pb(answer)
        payload = b"".join(part.payload for part in answer.parts)
        dense = received + framed_bytes(calls.dense_header_bytes(answer), answer.dense_bytes)
        try:
            for message in chunk_messages(header, payload, pb.CheckoutVersionResponse):
                sent += message_bytes(message)
                yield message
        finally:
            self._facade.count_traffic(answer.run_id, received=received, sent=sent, dense_equivalent=dense)

    async def CommitUpdate(  # noqa: N802
        self, requests: AsyncIterator[pb.CommitUpdateRequest], context: Context
    ) -> pb.CommitUpdateResponse:
        reader: PayloadReader[pb.CommitHeader] = PayloadReader(
            requests, idle_seconds=self._deadlines.idle_seconds, peer="the worker"
        )
        header = await reader.header()
        run_id = scalars.name_from_pb(header.run_id, "run_id")
        sent, dense = 0, None
        try:
            # Everything that the header alone can be refused for, before its payload is taken in.
            calls.commit_query_from_pb(header, None)
            with self._admission.payload(header.payload_bytes):
                payload = await reader.payload(self._admission.limits.max_payload_bytes)
                answer = await self._facade.commit(run_id, calls.commit_query_from_pb(header, payload))
            response = calls.commit_answer_to_pb(answer)
            sent = message_bytes(response)
            dense = framed_bytes(header.ByteSize(), answer.dense_bytes) + sent
        finally:
            # Of a refused commit only what came is known: what its header announced is not to be believed.
            received = reader.message_bytes
            self._facade.count_traffic(
                run_id,
                received=received,
                sent=sent,
                dense_equivalent=received if dense is None else dense,
            )
        return response


def _run_id(request: Any) -> str:
    return scalars.name_from_pb(request.run_id, "run_id")


def _process(request: Any) -> tuple[str, int]:
    worker_id = scalars.name_from_pb(request.worker_id, "worker_id")
    return worker_id, scalars.count_from_pb(request.incarnation, "incarnation")
