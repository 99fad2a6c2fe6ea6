"""The one place where calls end in an error.

Handlers raise the errors of ``chronos_common.errors`` and know nothing of statuses. This interceptor stands
around every method of Chronos' own services: it admits the call, decodes its messages, asks
the gate whether the caller may, turns what is raised into a status with details, and logs what nobody raised
on purpose without telling its content to the peer. What the handler logs carries the caller's trace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from chronos_common.errors import AccessError, ChronosError, MalformedPayloadError, PayloadTooLargeError
from chronos_common.runtime import get_logger
from chronos_common.runtime.tracing import TRACEPARENT, TraceContext, begin_span, parse_traceparent
from chronos_common.wire.access import OPEN_SERVICES, Gate
from chronos_common.wire.admission import Admission, draining_error
from chronos_common.wire.chunks import require_message
from chronos_common.wire.status import code_of, to_status

PACKAGE: Final = "/chronos."

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Observe: TypeAlias = Callable[[str, str, float], None]

_KINDS: Final[tuple[tuple[str, Callable[..., Handler], bool], ...]] = (
    ("unary_unary", grpc.unary_unary_rpc_method_handler, False),
    ("stream_unary", grpc.stream_unary_rpc_method_handler, False),
    ("unary_stream", grpc.unary_stream_rpc_method_handler, True),
    ("stream_stream", grpc.stream_stream_rpc_method_handler, True),
)
"""Attribute of a handler, how to make another of that kind, and whether it answers in a stream."""

_log = get_logger(__name__)


@dataclass(frozen=True)
class _Garbage:
    """Stands for a request whose bytes are no message, or too many; gRPC has no typed answer to them."""

    error: ChronosError


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Admits, decodes and, where it must, aborts every call to a service of the ``chronos`` package.

    Args:
        admission: counts what is in flight, and knows when the server drains. A stream of answers that waits
            for its next message then ends; one in the middle of a payload goes on.
        observe: is told of every call that ended: method (only names that exist), status code, seconds.
        clock: seconds that never go back.
        gate: knows who may call what; by default everybody may everything. With one that is not open, other
            packages' services are guarded too, but for the health service.
    """

    def __init__(
        self,
        admission: Admission,
        observe: Observe | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        gate: Gate | None = None,
    ) -> None:
        self._admission = admission
        self._gate = Gate(None) if gate is None else gate
        self._observe = observe if observe is not None else _nobody
        self._clock = clock

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wraps the handler of one call."""
        handler: Any = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or not self._guards(method):
            return handler  # type: ignore[no-any-return]
        codecs = {
            "request_deserializer": _tolerant(
                handler.request_deserializer, self._admission.limits.max_message_bytes
            ),
            "response_serializer": handler.response_serializer,
        }
        attribute, make, answers_in_a_stream = next(
            kind for kind in _KINDS if getattr(handler, kind[0]) is not None
        )
        guard = self._streaming if answers_in_a_stream else self._unary
        return make(guard(getattr(handler, attribute), method), **codecs)

    def _guards(self, method: str) -> bool:
        return method.startswith(PACKAGE) or not (self._gate.open or method.startswith(OPEN_SERVICES))

    def _unary(self, behaviour: Callable[[Any, Context], Awaitable[Any]], method: str) -> Callable[..., Any]:
        async def call(request: Any, context: Context) -> Any:
            async with self._guarded(context, method, request):
                return await behaviour(_checked(request), context)

        return call

    def _streaming(
        self, behaviour: Callable[[Any, Context], AsyncGenerator[Any, None]], method: str
    ) -> Callable[..., AsyncIterator[Any]]:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            async with (
                self._guarded(context, method, request),
                aclosing(behaviour(_checked(request), context)) as messages,
            ):
                while (message := await self._next_unless_draining(messages)) is not None:
                    yield message

        return call

    @asynccontextmanager
    async def _guarded(self, context: Context, method: str, request: Any) -> AsyncIterator[None]:
        began = self._clock()
        code = grpc.StatusCode.CANCELLED
        metadata: tuple[tuple[str, Any], ...] = tuple(context.invocation_metadata() or ())
        # A task of its own serves each call, so that its context ends with it.
        span = begin_span(method.lstrip("/"), kind="server", parent=_parent(metadata))
        try:
            self._gate.admit(method, metadata, request)
            with self._admission.call():
                yield
            code = grpc.StatusCode.OK
        except ChronosError as error:
            code = code_of(type(error))
            if isinstance(error, AccessError):
                _log.warning("call turned away", method=method, peer=context.peer(), problem=str(error))
            await context.abort_with_status(to_status(error))
        except Exception as error:  # noqa: BLE001 - the boundary: whatever it is, the peer gets an answer
            code = grpc.StatusCode.INTERNAL
            _log.error("call failed", method=method, exc_info=error)
            await context.abort_with_status(
                to_status(ChronosError("the coordinator failed to handle this call; its log has the reason"))
            )
        finally:
            span.end("" if code is grpc.StatusCode.OK else code.name)
            self._observe(method.rpartition("/")[2], code.name, self._clock() - began)

    async def _next_unless_draining(self, messages: AsyncIterator[Any]) -> Any | None:
        step = asyncio.ensure_future(anext(messages, None))
        # A message that is ready is worth one turn of the loop, not a race against the drain.
        await asyncio.sleep(0)
        if not step.done():
            drain = asyncio.ensure_future(self._admission.draining.wait())
            try:
                await asyncio.wait({step, drain}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                drain.cancel()
                if not step.done():
                    step.cancel()
                    await asyncio.wait({step})
            if step.cancelled():
                raise draining_error()
        return step.result()


def _parent(metadata: tuple[tuple[str, Any], ...]) -> TraceContext | None:
    return next((parse_traceparent(str(value)) for name, value in metadata if name == TRACEPARENT), None)


def _nobody(method: str, code: str, seconds: float) -> None:
    """Stands for an observer that is not there."""


def _tolerant(deserializer: Callable[[bytes], Any] | None, max_bytes: int) -> Callable[[bytes], Any] | None:
    if deserializer is None:
        return None

    def decode(data: bytes) -> Any:
        try:
            require_message(len(data), max_bytes)
            return deserializer(data)
        except PayloadTooLargeError as error:
            return _Garbage(error)
        except DecodeError as error:
            return _Garbage(MalformedPayloadError(f"the request is not a message of this call: {error}"))

    return decode


def _checked(request: Any) -> Any:
    if isinstance(request, _Garbage):
        raise request.error
    return _checked_stream(request) if hasattr(request, "__aiter__") else request


async def _checked_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(request)
