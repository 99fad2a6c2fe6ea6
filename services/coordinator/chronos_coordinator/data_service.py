"""Handlers of ``chronos.v1.DataService``: convert, call, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Protocol

import grpc

from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.source import DealtShare
from chronos_common.data.views import DataView
from chronos_common.errors import InvalidRequestError
from chronos_common.pb.chronos.v1 import data_pb2 as pb
from chronos_common.pb.chronos.v1.data_pb2_grpc import DataServiceServicer, add_DataServiceServicer_to_server
from chronos_common.wire.admission import Admission
from chronos_common.wire.chunks import PayloadReader, require_admissible
from chronos_common.wire.convert import data as convert
from chronos_common.wire.convert import scalars
from chronos_common.wire.deadlines import DeadlineConfig
from chronos_common.wire.limits import CHUNK_BYTES
from chronos_common.wire.server import Service
from chronos_common.wire.transport import DATA_SERVICE

Context = grpc.aio.ServicerContext[Any, Any]

MAX_REPORTS: Final = 1000
"""Finished shares in one call."""


class DataFacade(Protocol):
    """What the handlers need of a coordinator; every method raises ``ChronosError``."""

    async def create(self, plan_id: str, config: DataPlanConfig) -> DataView: ...

    def describe(self, plan_id: str) -> DataView: ...

    def plans(self) -> Sequence[DataView]: ...

    async def add_sizes(
        self, plan_id: str, begin: int, payload: bytes, number_type: str, node: int
    ) -> int: ...

    async def join(self, plan_id: str, worker: str, incarnation: int, rank: int, node: int) -> DataView: ...

    async def leave(self, plan_id: str, worker: str, incarnation: int) -> None: ...

    def shares(
        self,
        plan_id: str,
        worker: str,
        incarnation: int,
        epoch: int,
        after_turn: int,
        wait_seconds: float | None,
    ) -> AsyncIterator[DealtShare]: ...

    async def finish(
        self, plan_id: str, worker: str, incarnation: int, done: Sequence[tuple[int, float]]
    ) -> Sequence[int]: ...

    def save(self, plan_id: str) -> bytes: ...

    async def restore(self, plan_id: str, state: bytes) -> DataView: ...


def data_service(facade: DataFacade, *, deadlines: DeadlineConfig | None = None) -> Service:
    """The service, to be given to a :class:`chronos_common.wire.Server`."""
    budget = DeadlineConfig() if deadlines is None else deadlines

    def add_to(server: grpc.aio.Server, admission: Admission) -> None:
        add_DataServiceServicer_to_server(DataHandlers(facade, admission, budget), server)

    return Service(name=DATA_SERVICE, add_to=add_to)


class DataHandlers(DataServiceServicer):
    """One method for each RPC; see the contract for what they do."""

    def __init__(self, facade: DataFacade, admission: Admission, deadlines: DeadlineConfig) -> None:
        self._facade = facade
        self._admission = admission
        self._deadlines = deadlines

    async def CreateDataPlan(  # noqa: N802
        self, request: pb.CreateDataPlanRequest, context: Context
    ) -> pb.CreateDataPlanResponse:
        view = await self._facade.create(_plan_id(request), convert.plan_from_pb(request.plan))
        return pb.CreateDataPlanResponse(status=convert.view_to_pb(view))

    async def DescribeData(  # noqa: N802
        self, request: pb.DescribeDataRequest, context: Context
    ) -> pb.DescribeDataResponse:
        return pb.DescribeDataResponse(status=convert.view_to_pb(self._facade.describe(_plan_id(request))))

    async def ListDataPlans(  # noqa: N802
        self, request: pb.ListDataPlansRequest, context: Context
    ) -> pb.ListDataPlansResponse:
        return pb.ListDataPlansResponse(plans=[convert.view_to_pb(view) for view in self._facade.plans()])

    async def UploadSizes(  # noqa: N802
        self, requests: AsyncIterator[pb.UploadSizesRequest], context: Context
    ) -> pb.UploadSizesResponse:
        reader: PayloadReader[pb.SizesHeader] = PayloadReader(
            requests, idle_seconds=self._deadlines.idle_seconds, peer="the worker"
        )
        header = await reader.header()
        plan_id, number_type = _plan_id(header), convert.size_type_from_pb(header)
        self._facade.describe(plan_id)  # an unknown plan is refused before its sizes are taken in
        with self._admission.payload(header.payload_bytes):
            payload = await reader.payload(self._admission.limits.max_payload_bytes)
            sized = await self._facade.add_sizes(plan_id, header.begin, payload, number_type, header.node)
        return pb.UploadSizesResponse(sized=sized)

    async def JoinData(self, request: pb.JoinDataRequest, context: Context) -> pb.JoinDataResponse:  # noqa: N802
        rank = request.rank if request.HasField("rank") else -1
        view = await self._facade.join(_plan_id(request), *_process(request), rank, request.node)
        return pb.JoinDataResponse(status=convert.view_to_pb(view))

    async def LeaveData(self, request: pb.LeaveDataRequest, context: Context) -> pb.LeaveDataResponse:  # noqa: N802
        await self._facade.leave(_plan_id(request), *_process(request))
        return pb.LeaveDataResponse()

    async def StreamShares(  # noqa: N802
        self, request: pb.StreamSharesRequest, context: Context
    ) -> AsyncIterator[pb.StreamSharesResponse]:
        wait = None
        if request.HasField("wait"):
            wait = scalars.duration_from_pb(
                request.wait, "wait", max_seconds=self._deadlines.max_wait_seconds
            )
        epoch = scalars.count_from_pb(request.epoch, "epoch")
        after_turn = scalars.count_from_pb(request.after_turn, "after_turn")
        shares = self._facade.shares(_plan_id(request), *_process(request), epoch, after_turn, wait)
        async for share in shares:
            for message in convert.share_to_pb(share):
                yield message

    async def FinishShares(  # noqa: N802
        self, request: pb.FinishSharesRequest, context: Context
    ) -> pb.FinishSharesResponse:
        if len(request.shares) > MAX_REPORTS:
            raise InvalidRequestError(
                f"{len(request.shares)} shares in one call; at most {MAX_REPORTS}", field="shares"
            )
        done = [(scalars.count_from_pb(share.turn, "turn"), share.seconds) for share in request.shares]
        lost = await self._facade.finish(_plan_id(request), *_process(request), done)
        return pb.FinishSharesResponse(lost=lost)

    async def SaveData(self, request: pb.SaveDataRequest, context: Context) -> pb.SaveDataResponse:  # noqa: N802
        state = self._facade.save(_plan_id(request))
        require_admissible(len(state), self._admission.limits.max_message_bytes - CHUNK_BYTES)
        return pb.SaveDataResponse(state=state)

    async def RestoreData(  # noqa: N802
        self, request: pb.RestoreDataRequest, context: Context
    ) -> pb.RestoreDataResponse:
        view = await self._facade.restore(_plan_id(request), request.state)
        return pb.RestoreDataResponse(status=convert.view_to_pb(view))


def _plan_id(request: Any) -> str:
    return scalars.name_from_pb(request.plan_id, "plan_id")


def _process(request: Any) -> tuple[str, int]:
    worker_id = scalars.name_from_pb(request.worker_id, "worker_id")
    return worker_id, scalars.count_from_pb(request.incarnation, "incarnation")
