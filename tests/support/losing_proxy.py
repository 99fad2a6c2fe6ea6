"""A proxy in front of a coordinator that loses answers to commits, as a network may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

COMMIT = "/chronos.v1.CoordinatorService/CommitUpdate"
MAX_MESSAGE_BYTES = 16 << 20


@dataclass(eq=False)
class LosingProxy(grpc.GenericRpcHandler):
    """Hands on every call as bytes, and after every second commit says ``UNAVAILABLE`` in place of the answer.

    Attributes:
        upstream: the coordinator.
        retry_seconds: the pause that it asks for then.
        commits: the commits that came, each as the bytes of its messages.
        authorizations: the values of that metadata key that came.
    """

    upstream: grpc.aio.Channel
    retry_seconds: float = 0.05
    commits: list[bytes] = field(default_factory=list)
    authorizations: set[str | bytes | None] = field(default_factory=set)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """One handler for all methods: on the wire every call is a stream both ways."""
        method = str(handler_call_details.method)
        metadata = dict(handler_call_details.invocation_metadata or ())

        async def handle(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[bytes]:
            self.authorizations.add(metadata.get("authorization"))
            received = [request async for request in requests]
            forward: Any = self.upstream.stream_stream(method)
            call = forward(iter(received), timeout=context.time_remaining())
            try:
                answers = [answer async for answer in call]
            except grpc.aio.AioRpcError as error:
                context.set_trailing_metadata(tuple(error.trailing_metadata()))
                await context.abort(error.code(), error.details() or "")
            if method == COMMIT:
                self.commits.append(b"".join(received))
                if len(self.commits) % 2:
                    await context.abort_with_status(self._lost())
            for answer in answers:
                yield answer

        return grpc.stream_stream_rpc_method_handler(handle)

    def _lost(self) -> Any:
        delay = duration_pb2.Duration(nanos=round(1e9 * self.retry_seconds))
        status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="the answer got lost")
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return rpc_status.to_status(status)


@asynccontextmanager
async def losing_proxy(upstream: str) -> AsyncIterator[tuple[str, LosingProxy]]:
    """The address of a proxy in front of ``upstream``, and the proxy."""
    limits = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.http2.min_ping_interval_without_data_ms", 100),
    ]
    async with grpc.aio.insecure_channel(upstream, options=limits) as channel:
        proxy = LosingProxy(channel)
        server = grpc.aio.server(options=limits)
        server.add_generic_rpc_handlers((proxy,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}", proxy
        finally:
            await server.stop(0)
