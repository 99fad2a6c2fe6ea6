"""Handlers of ``chronos.v1.MemoryService``: convert, call, convert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import grpc

from chronos_common.codec import decode
from chronos_common.engine import RunConfig
from chronos_common.engine.views import MemoryView
from chronos_common.engine.warm_start import WarmStartCandidate
from chronos_common.errors import PayloadTooLargeError
from chronos_common.outer.memory import Neighbour, Prediction
from chronos_common.pb.chronos.v1 import memory_pb2 as pb
from chronos_common.pb.chronos.v1.memory_pb2_grpc import (
    MemoryServiceServicer,
    add_MemoryServiceServicer_to_server,
)
from chronos_common.tensors import Arrays
from chronos_common.wire.admission import Admission
from chronos_common.wire.convert import memory as convert
from chronos_common.wire.convert import scalars
from chronos_common.wire.convert.config import config_from_pb
from chronos_common.wire.server import Service
from chronos_common.wire.transport import MEMORY_SERVICE

Context = grpc.aio.ServicerContext[Any, Any]


class MemoryFacade(Protocol):
    """What the handlers need of a coordinator; every method raises ``ChronosError``."""

    async def describe(self, run_id: str, window: int = 0) -> MemoryView: ...

    async def store(
        self, run_id: str, values: Arrays, gradient: Arrays, loss: float, source: str
    ) -> tuple[int, int]: ...

    async def forbid(self, run_id: str, values: Arrays, radius: float, reason: str) -> int: ...

    async def similar(
        self, run_id: str, values: Arrays | None, k: int, metric: str
    ) -> tuple[Neighbour, ...]: ...

    async def predict(self, run_id: str, values: Arrays | None, k: int) -> Prediction: ...

    async def warm_starts(self, config: RunConfig, run_id: str = "") -> Sequence[WarmStartCandidate]: ...


def memory_service(facade: MemoryFacade) -> Service:
    """The service, to be given to a :class:`chronos_common.wire.Server`."""

    def add_to(server: grpc.aio.Server, admission: Admission) -> None:
        add_MemoryServiceServicer_to_server(MemoryHandlers(facade, admission), server)

    return Service(name=MEMORY_SERVICE, add_to=add_to)


class MemoryHandlers(MemoryServiceServicer):
    """One method for each RPC; see the contract for what they do."""

    def __init__(self, facade: MemoryFacade, admission: Admission) -> None:
        self._facade = facade
        self._admission = admission

    async def DescribeMemory(  # noqa: N802
        self, request: pb.DescribeMemoryRequest, context: Context
    ) -> pb.DescribeMemoryResponse:
        return convert.view_to_pb(await self._facade.describe(_run_id(request), request.window))

    async def StoreMemory(  # noqa: N802
        self, request: pb.StoreMemoryRequest, context: Context
    ) -> pb.StoreMemoryResponse:
        run_id = _run_id(request)
        scalars.require_finite_number(request.loss, "the loss", "loss")
        source = scalars.text_from_pb(request.source, "source")
        with self._admission.payload(len(request.values) + len(request.gradient)):
            number, entries = await self._facade.store(
                run_id, self._decode(request.values), self._decode(request.gradient), request.loss, source
            )
        return pb.StoreMemoryResponse(number=number, entries=entries)

    async def ForbidRegion(  # noqa: N802
        self, request: pb.ForbidRegionRequest, context: Context
    ) -> pb.ForbidRegionResponse:
        run_id = _run_id(request)
        reason = scalars.text_from_pb(request.reason, "reason")
        with self._admission.payload(len(request.values)):
            regions = await self._facade.forbid(run_id, self._decode(request.values), request.radius, reason)
        return pb.ForbidRegionResponse(regions=regions)

    async def RetrieveSimilar(  # noqa: N802
        self, request: pb.RetrieveSimilarRequest, context: Context
    ) -> pb.RetrieveSimilarResponse:
        with self._admission.payload(len(request.values)):
            found = await self._facade.similar(
                _run_id(request), self._asked(request.values), request.k, request.metric
            )
        if request.with_arrays:
            self._require_sendable(sum(_dense(n.values) + _dense(n.gradient) for n in found))
        return pb.RetrieveSimilarResponse(
            entries=[convert.neighbour_to_pb(n, with_arrays=request.with_arrays) for n in found]
        )

    async def PredictGradient(  # noqa: N802
        self, request: pb.PredictGradientRequest, context: Context
    ) -> pb.PredictGradientResponse:
        with self._admission.payload(len(request.values)):
            found = await self._facade.predict(_run_id(request), self._asked(request.values), request.k)
        self._require_sendable(_dense(found.gradient))
        return convert.prediction_to_pb(found)

    async def FindWarmStarts(  # noqa: N802
        self, request: pb.FindWarmStartsRequest, context: Context
    ) -> pb.FindWarmStartsResponse:
        run_id = scalars.name_from_pb(request.run_id, "run_id", optional=True)
        found = await self._facade.warm_starts(config_from_pb(request.config), run_id)
        return pb.FindWarmStartsResponse(candidates=[convert.candidate_to_pb(one) for one in found])

    def _decode(self, payload: bytes) -> Arrays:
        return decode(payload, max_bytes=self._admission.limits.max_payload_bytes)

    def _asked(self, payload: bytes) -> Arrays | None:
        return self._decode(payload) if payload else None

    def _require_sendable(self, size: int) -> None:
        most = self._admission.limits.max_message_bytes // 2
        if size > most:
            raise PayloadTooLargeError(
                f"the answer would have {size} bytes of arrays, above the {most} that one message takes; ask for "
                "fewer entries, or for none of their arrays",
                bytes=size,
            )


def _run_id(request: Any) -> str:
    return scalars.name_from_pb(request.run_id, "run_id")


def _dense(arrays: Arrays) -> int:
    return sum(value.nbytes for value in arrays.values())
