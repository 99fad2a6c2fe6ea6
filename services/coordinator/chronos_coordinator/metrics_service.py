"""Handlers of ``chronos.v1.MetricsService``: convert, call, convert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import grpc

from chronos_common.engine import MetricSample
from chronos_common.errors import InvalidRequestError
from chronos_common.pb.chronos.v1 import metrics_pb2 as pb
from chronos_common.pb.chronos.v1.metrics_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from chronos_common.wire.admission import Admission
from chronos_common.wire.convert import scalars, views
from chronos_common.wire.convert.views import MAX_SAMPLES
from chronos_common.wire.server import Service
from chronos_common.wire.transport import METRICS_SERVICE

Context = grpc.aio.ServicerContext[Any, Any]


class MetricsFacade(Protocol):
    """What the handlers need of a coordinator; every method raises ``ChronosError``."""

    async def report_metrics(self, run_id: str, samples: Sequence[MetricSample]) -> None: ...

    async def query_metrics(
        self, run_id: str, names: Sequence[str], after_version: int, limit: int
    ) -> list[MetricSample]: ...


def metrics_service(facade: MetricsFacade) -> Service:
    """The service, to be given to a :class:`chronos_common.wire.Server`."""

    def add_to(server: grpc.aio.Server, admission: Admission) -> None:
        add_MetricsServiceServicer_to_server(MetricsHandlers(facade), server)

    return Service(name=METRICS_SERVICE, add_to=add_to)


class MetricsHandlers(MetricsServiceServicer):
    """One method for each RPC; see the contract for what they do."""

    def __init__(self, facade: MetricsFacade) -> None:
        self._facade = facade

    async def ReportMetrics(  # noqa: N802
        self, request: pb.ReportMetricsRequest, context: Context
    ) -> pb.ReportMetricsResponse:
        run_id = scalars.name_from_pb(request.run_id, "run_id")
        await self._facade.report_metrics(run_id, views.samples_from_pb(request.samples))
        return pb.ReportMetricsResponse()

    async def QueryMetrics(  # noqa: N802
        self, request: pb.QueryMetricsRequest, context: Context
    ) -> pb.QueryMetricsResponse:
        run_id = scalars.name_from_pb(request.run_id, "run_id")
        if len(request.names) > scalars.MAX_METRICS:
            raise InvalidRequestError(
                f"{len(request.names)} series in one call; at most {scalars.MAX_METRICS}", field="names"
            )
        names = [scalars.name_from_pb(name, "names") for name in request.names]
        after_version = scalars.count_from_pb(request.after_version, "after_version")
        limit = min(request.limit or MAX_SAMPLES, MAX_SAMPLES)
        samples = await self._facade.query_metrics(run_id, names, after_version, limit)
        return pb.QueryMetricsResponse(samples=[views.sample_to_pb(sample) for sample in samples])
