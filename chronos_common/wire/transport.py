"""One connection to a coordinator: opening, closing, calls with deadlines, errors with types."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Final, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chronos_common.errors import ChronosError, UnavailableError
from chronos_common.pb.chronos.v1 import coordinator_pb2_grpc, memory_pb2_grpc, metrics_pb2_grpc
from chronos_common.wire.channel import open_channel
from chronos_common.wire.deadlines import DeadlineConfig
from chronos_common.wire.limits import WireLimits
from chronos_common.wire.status import from_rpc_error

COORDINATOR_SERVICE: Final = "chronos.v1.CoordinatorService"
METRICS_SERVICE: Final = "chronos.v1.MetricsService"
MEMORY_SERVICE: Final = "chronos.v1.MemoryService"


class Transport:
    """The plumbing below a client's methods.

    Args:
        address: ``host:port``.
        deadlines: the deadline budget.
        limits: what may be sent and taken.
    """

    def __init__(
        self, address: str, *, deadlines: DeadlineConfig | None = None, limits: WireLimits | None = None
    ) -> None:
        self.address = address
        self.deadlines = DeadlineConfig() if deadlines is None else deadlines
        self.limits = WireLimits() if limits is None else limits
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls in flight are cancelled. A later call opens it again."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def wait_until_serving(self, timeout_seconds: float) -> None:
        """Returns when the coordinator serves.

        Raises:
            UnavailableError: it did not within the time.
        """
        stub = health_pb2_grpc.HealthStub(self._open())
        request = health_pb2.HealthCheckRequest(service=COORDINATOR_SERVICE)
        try:
            answer = await stub.Check(request, timeout=timeout_seconds, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise UnavailableError(
                f"the coordinator at {self.address} is not serving; it is starting or stopping"
            )

    def coordinator(self) -> coordinator_pb2_grpc.CoordinatorServiceStub:
        """Stub of the versions job."""
        return coordinator_pb2_grpc.CoordinatorServiceStub(self._open())

    def metrics(self) -> metrics_pb2_grpc.MetricsServiceStub:
        """Stub of the metrics."""
        return metrics_pb2_grpc.MetricsServiceStub(self._open())

    def memory(self) -> memory_pb2_grpc.MemoryServiceStub:
        """Stub of the memory."""
        return memory_pb2_grpc.MemoryServiceStub(self._open())

    async def call(self, method: Any, request: Any, seconds: float | None = None) -> Any:
        """The answer to a message or a stream of them, by a deadline (default: that of ordinary calls)."""
        try:
            return await method(request, timeout=self.deadlines.call_seconds if seconds is None else seconds)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error

    async def stream(self, method: Any, request: Any, seconds: float) -> AsyncGenerator[Any, None]:
        """The messages that answer one; closing the generator cancels the call."""
        call = method(request, timeout=seconds)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error
        finally:
            call.cancel()

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = open_channel(self.address, deadlines=self.deadlines, limits=self.limits)
        return self._channel

    def _translated(self, error: grpc.aio.AioRpcError) -> ChronosError:
        return from_rpc_error(error, f"the coordinator at {self.address}")
