"""One connection to a coordinator: opening, closing, calls with deadlines, errors with types."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Final, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chronos_common.errors import ChronosError, ConfigurationError, UnavailableError
from chronos_common.pb.chronos.v1 import (
    clan_pb2_grpc,
    coordinator_pb2_grpc,
    data_pb2_grpc,
    memory_pb2_grpc,
    metrics_pb2_grpc,
    peers_pb2_grpc,
    prediction_pb2_grpc,
)
from chronos_common.runtime import get_logger
from chronos_common.runtime.tracing import TRACEPARENT, Span, child_span
from chronos_common.wire.channel import open_channel
from chronos_common.wire.deadlines import DeadlineConfig
from chronos_common.wire.diagnosis import diagnose
from chronos_common.wire.limits import WireLimits
from chronos_common.wire.security import ClientSecurity
from chronos_common.wire.status import from_rpc_error, made_by_chronos
from chronos_common.wire.tokens import ClientToken
from chronos_common.wire.watched import WatchedFiles

COORDINATOR_SERVICE: Final = "chronos.v1.CoordinatorService"
METRICS_SERVICE: Final = "chronos.v1.MetricsService"
MEMORY_SERVICE: Final = "chronos.v1.MemoryService"
DATA_SERVICE: Final = "chronos.v1.DataService"
CLAN_SERVICE: Final = "chronos.v1.ClanService"
PREDICTION_SERVICE: Final = "chronos.v1.PredictionService"
PEER_SERVICE: Final = "chronos.v1.PeerService"

DIAGNOSIS_SECONDS: Final = 2.0
"""How long a look at a connection that does not come about may take."""

_log = get_logger(__name__)


class Connection:
    """A channel, and how many calls it carries: one that is replaced goes on until they are over."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.calls = 0


class Transport:
    """The plumbing below a client's methods.

    Args:
        address: ``host:port``.
        deadlines: the deadline budget.
        limits: what may be sent and taken.
        security: TLS and the token.
    """

    def __init__(
        self,
        address: str,
        *,
        deadlines: DeadlineConfig | None = None,
        limits: WireLimits | None = None,
        security: ClientSecurity | None = None,
    ) -> None:
        self.address = address
        self.deadlines = DeadlineConfig() if deadlines is None else deadlines
        self.limits = WireLimits() if limits is None else limits
        self.security = ClientSecurity() if security is None else security
        self._token = ClientToken(self.security, address)
        files = (self.security.tls_ca, self.security.tls_cert, self.security.tls_key)
        self._certificates = WatchedFiles([path for path in files if path is not None])
        self._connection: Connection | None = None
        self._replaced: set[Connection] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls in flight are cancelled. A later call opens it again."""
        open_ones, self._connection, self._replaced = {*self._replaced, self._connection}, None, set()
        for connection in open_ones:
            if connection is not None:
                await connection.channel.close()

    async def wait_until_serving(self, timeout_seconds: float) -> None:
        """Returns when the coordinator serves.

        Raises:
            UnavailableError: it did not within the time.
            TlsError: the two sides do not fit.
        """
        stub = health_pb2_grpc.HealthStub(self._open().channel)
        request = health_pb2.HealthCheckRequest(service=COORDINATOR_SERVICE)
        try:
            answer = await stub.Check(request, timeout=timeout_seconds, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise await self._translated(error) from error
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise UnavailableError(
                f"the coordinator at {self.address} is not serving; it is starting or stopping"
            )

    def coordinator(self) -> coordinator_pb2_grpc.CoordinatorServiceStub:
        """Stub of the versions job."""
        return coordinator_pb2_grpc.CoordinatorServiceStub(self._open().channel)

    def metrics(self) -> metrics_pb2_grpc.MetricsServiceStub:
        """Stub of the metrics."""
        return metrics_pb2_grpc.MetricsServiceStub(self._open().channel)

    def memory(self) -> memory_pb2_grpc.MemoryServiceStub:
        """Stub of the memory."""
        return memory_pb2_grpc.MemoryServiceStub(self._open().channel)

    def data(self) -> data_pb2_grpc.DataServiceStub:
        """Stub of the data plans."""
        return data_pb2_grpc.DataServiceStub(self._open().channel)

    def clans(self) -> clan_pb2_grpc.ClanServiceStub:
        """Stub of the clans."""
        return clan_pb2_grpc.ClanServiceStub(self._open().channel)

    def prediction(self) -> prediction_pb2_grpc.PredictionServiceStub:
        """Stub of the predictions."""
        return prediction_pb2_grpc.PredictionServiceStub(self._open().channel)

    def peers(self) -> peers_pb2_grpc.PeerServiceStub:
        """Stub of the peer groups."""
        return peers_pb2_grpc.PeerServiceStub(self._open().channel)

    async def call(self, method: Any, request: Any, seconds: float | None = None) -> Any:
        """The answer to a message or a stream of them, by a deadline (default: that of ordinary calls)."""
        connection, span = self._used(), _span_of(method)
        connection.calls += 1
        try:
            answer = await method(
                request,
                timeout=self.deadlines.call_seconds if seconds is None else seconds,
                metadata=self._metadata(span),
            )
        except grpc.aio.AioRpcError as error:
            span.end(error.code().name)
            raise await self._translated(error) from error
        finally:
            span.end()
            await self._carried(connection)
        return answer

    async def stream(self, method: Any, request: Any, seconds: float) -> AsyncGenerator[Any, None]:
        """The messages that answer one; closing the generator cancels the call."""
        connection, span = self._used(), _span_of(method)
        connection.calls += 1
        call = method(request, timeout=seconds, metadata=self._metadata(span))
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            span.end(error.code().name)
            raise await self._translated(error) from error
        finally:
            span.end()
            call.cancel()
            await self._carried(connection)

    def _metadata(self, span: Span) -> tuple[tuple[str, str], ...]:
        return ((TRACEPARENT, span.context.traceparent), *self._token.metadata())

    def _used(self) -> Connection:
        """The connection of a stub that was just made: without another look at the certificates."""
        return self._open() if self._connection is None else self._connection

    def _open(self) -> Connection:
        if self._connection is not None and not self._certificates.changed():
            return self._connection
        before = self._connection
        try:
            if before is None:
                self._certificates.changed()
            channel = open_channel(
                self.address, deadlines=self.deadlines, limits=self.limits, security=self.security
            )
        except ConfigurationError as error:
            if before is None:
                raise
            # Its halves may be replaced one after the other: the second one brings it here again.
            _log.warning("new certificates cannot be used, the old ones stay", problem=str(error))
            return before
        if before is not None:
            _log.info("new certificates are in use", address=self.address)
            self._replaced.add(before)
        self._connection = Connection(channel)
        return self._connection

    async def _carried(self, connection: Connection) -> None:
        """A call is over; the last one of a connection that was replaced closes it."""
        connection.calls -= 1
        for idle in [old for old in self._replaced if not old.calls]:
            self._replaced.discard(idle)
            await idle.channel.close()

    async def _translated(self, error: grpc.aio.AioRpcError) -> ChronosError:
        if error.code() in _SILENT and not made_by_chronos(error):
            seconds = min(DIAGNOSIS_SECONDS, self.deadlines.call_seconds)
            found = await asyncio.to_thread(diagnose, self.address, self.security, seconds)
            if found is not None:
                return found
        return from_rpc_error(error, f"the coordinator at {self.address}")


_SILENT: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
"""What gRPC says when there is no connection."""


def _span_of(method: Any) -> Span:
    name = getattr(method, "_method", b"")
    return child_span(name.decode().lstrip("/") if isinstance(name, bytes) else str(name), kind="client")
