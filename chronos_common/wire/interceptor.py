"""The one place where calls end in an error.

Handlers raise the errors of ``chronos_common.errors`` and know nothing of statuses. This interceptor stands
around every method of Chronos' own services: it admits the call, decodes its messages, turns what is raised
into a status with details, and logs what nobody raised on purpose without telling its content to the peer.
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

from chronos_common.errors import ChronosError, MalformedPayloadError
from chronos_common.runtime import get_logger
from chronos_common.wire.admission import Admission, draining_error
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
    """Stands for a request whose bytes are no message; gRPC has no typed answer to them."""

    problem: str


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Admits, decodes and, where it must, aborts every call to a service of the ``chronos`` package.

    Args:
        admission: counts what is in flight, and knows when the server drains. A stream of answers that waits
            for its next message then ends; one in the middle of a payload goes on.
        observe: is told of every call that ended: method (only names that exist), status code, seconds.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        admission: Admission,
        observe: Observe | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._admission = admission
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
        if handler is None or not method.startswith(PACKAGE):
            return handler  # type: ignore[no-any-return]
        codecs = {
            "request_deserializer": _tolerant(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        attribute, make, answers_in_a_stream = next(
            kind for kind in _KINDS if getattr(handler, kind[0]) is not None
        )
        guard = self._streaming if answers_in_a_stream else self._unary
        return make(guard(getattr(handler, attribute), method), **codecs)

    def _unary(self, behaviour: Callable[[Any, Context], Awaitable[Any]], method: str) -> Callable[..., Any]:
        async def call(request: Any, context: Context) -> Any:
            async with self._guarded(context, method):
                return await behaviour(_checked(request), context)

        return call

    def _streaming(
        self, behaviour: Callable[[Any, Context], AsyncGenerator[Any, None]], method: str
    ) -> Callable[..., AsyncIterator[Any]]:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            async with (
                self._guarded(context, method),
                aclosing(behaviour(_checked(request), context)) as messages,
            ):
                while (message := await self._next_unless_draining(messages)) is not None:
                    yield message

        return call

    @asynccontextmanager
    async def _guarded(self, context: Context, method: str) -> AsyncIterator[None]:
        began = self._clock()
        code = grpc.StatusCode.CANCELLED
        try:
            with self._admission.call():
                yield
            code = grpc.StatusCode.OK
        except ChronosError as error:
            code = code_of(type(error))
            await context.abort_with_status(to_status(error))
        except Exception as error:  # noqa: BLE001 - the boundary: whatever it is, the peer gets an answer
            code = grpc.StatusCode.INTERNAL
            _log.error("call failed", method=method, exc_info=error)
            await context.abort_with_status(
                to_status(ChronosError("the coordinator failed to handle this call; its log has the reason"))
            )
        finally:
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


def _nobody(method: str, code: str, seconds: float) -> None:
    """Stands for an observer that is not there."""


def _tolerant(deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if deserializer is None:
        return None

    def decode(data: bytes) -> Any:
        try:
            return deserializer(data)
        except DecodeError as error:
            return _Garbage(problem=str(error))

    return decode


def _checked(request: Any) -> Any:
    if isinstance(request, _Garbage):
        raise MalformedPayloadError(f"the request is not a message of this call: {request.problem}")
    return _checked_stream(request) if hasattr(request, "__aiter__") else request


async def _checked_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(request)
