"""Payloads as streams of messages: a header once, then at most 1 MiB of payload per message.

The first chunk rides with the header, so a small payload is one message. The receiver trusts nothing: the
declared size is held against the limit before a byte is buffered, and against what arrives after each
message. Both streams of the contract (checkout down, commit up) have the same two fields and share this file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from chronos_common.errors import (
    InvalidRequestError,
    MalformedPayloadError,
    PayloadTooLargeError,
    UnavailableError,
)
from chronos_common.wire.limits import CHUNK_BYTES

FRAME_BYTES: Final = 5
"""gRPC's prefix of every message: a flag and the length."""


class PayloadHeader(Protocol):
    """A header that declares the size of the payload behind it, in bytes."""

    payload_bytes: int


H = TypeVar("H", bound=PayloadHeader)
M = TypeVar("M", bound=Message)


def message_bytes(message: Message) -> int:
    """Bytes of a message on the wire: its serialisation and gRPC's prefix, before HTTP/2 and TLS."""
    return FRAME_BYTES + message.ByteSize()


def framed_bytes(header_bytes: int, payload_bytes: int) -> int:
    """Bytes of the stream that carries a payload behind a header of ``header_bytes``, prefixes included."""
    full, rest = divmod(payload_bytes, CHUNK_BYTES)
    total = _field_bytes(header_bytes) + full * (FRAME_BYTES + _field_bytes(CHUNK_BYTES))
    if rest:
        total += FRAME_BYTES + _field_bytes(rest)
    return total if payload_bytes else total + FRAME_BYTES


def chunk_messages(
    header: Message, payload: bytes, make: Callable[..., M], chunk_bytes: int = CHUNK_BYTES
) -> Iterator[M]:
    """The messages ``make(header=..., chunk=...)`` that carry a payload; at least one.

    Args:
        header: goes into the first message; its ``payload_bytes`` must be ``len(payload)``.
        payload: may be empty.
        make: class of the messages.
        chunk_bytes: of one message, at most ``CHUNK_BYTES``.
    """
    yield make(header=header, chunk=payload[:chunk_bytes])
    for start in range(chunk_bytes, len(payload), chunk_bytes):
        yield make(chunk=payload[start : start + chunk_bytes])


class PayloadReader(Generic[H]):
    """Reads one header and its payload from a stream of messages.

    Args:
        messages: the stream.
        idle_seconds: longest silence before the next message.
        header_seconds: longest silence before the first one, where it differs.
        peer: name of the sender, for errors.
    """

    def __init__(
        self,
        messages: AsyncIterator[Any],
        *,
        idle_seconds: float,
        header_seconds: float | None = None,
        peer: str = "the sender",
    ) -> None:
        self._messages = messages
        self._idle_seconds = idle_seconds
        self._header_seconds = idle_seconds if header_seconds is None else header_seconds
        self._peer = peer
        self._first_chunk = b""
        self._header: H | None = None
        self.message_bytes = 0
        """Bytes of the messages read so far, prefixes included."""

    async def header(self) -> H:
        """Reads the first message.

        Raises:
            InvalidRequestError: the stream is empty or does not begin with a header.
            UnavailableError: silence.
        """
        message = await self._next(self._header_seconds)
        if message is None or not message.HasField("header"):
            what = "is empty" if message is None else "begins with a chunk"
            raise InvalidRequestError(
                f"the stream {what}; its first message must hold the header", field="header"
            )
        self._first_chunk = message.chunk
        header: H = message.header
        self._header = header
        return header

    async def payload(self, max_bytes: int) -> bytes:
        """Reads the rest of the stream, after :meth:`header`.

        Raises:
            PayloadTooLargeError: more than ``max_bytes`` are declared; nothing was buffered.
            MalformedPayloadError: more or fewer bytes than declared, or a chunk that is empty or too large.
            InvalidRequestError: a second header.
            UnavailableError: silence.
        """
        if self._header is None:
            raise InvalidRequestError("the header of a stream comes before its payload", field="header")
        declared = self._header.payload_bytes
        require_admissible(declared, max_bytes)
        parts = [self._first_chunk]
        _require_chunk(self._first_chunk)
        received = len(self._first_chunk)
        while (message := await self._next(self._idle_seconds)) is not None:
            if message.HasField("header"):
                raise InvalidRequestError(
                    "the stream holds a second header; send one stream for each", field="header"
                )
            if not message.chunk:
                raise MalformedPayloadError(
                    "a chunk is empty; only a stream without payload has an empty one"
                )
            _require_chunk(message.chunk)
            received += len(message.chunk)
            _require_not_above(received, declared)
            parts.append(message.chunk)
        _require_not_above(received, declared)
        if received < declared:
            raise MalformedPayloadError(
                f"the stream ended after {received} of {declared} declared bytes; it was cut, send it again",
                declared=declared,
                received=received,
            )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _next(self, seconds: float) -> Any | None:
        try:
            async with asyncio.timeout(seconds):
                message = await anext(self._messages, None)
        except TimeoutError:
            raise UnavailableError(
                f"{self._peer} sent nothing for {seconds:g} s in the middle of a stream; send it again"
            ) from None
        if message is not None:
            self.message_bytes += message_bytes(message)
        return message


def require_admissible(payload_bytes: int, max_bytes: int) -> None:
    """Raises ``PayloadTooLargeError`` for a payload above the limit."""
    if payload_bytes > max_bytes:
        raise PayloadTooLargeError(
            f"a payload of {payload_bytes} bytes is above the limit of {max_bytes}; compress it or raise "
            "max_payload_bytes",
            payload_bytes=payload_bytes,
            max_payload_bytes=max_bytes,
        )


def require_message(message_bytes: int, max_bytes: int) -> None:
    """Raises ``PayloadTooLargeError`` for a single message above the limit."""
    if message_bytes > max_bytes:
        raise PayloadTooLargeError(
            f"a message of {message_bytes} bytes is above the limit of {max_bytes}; send payloads in chunks, or "
            "raise max_message_bytes",
            message_bytes=message_bytes,
            max_message_bytes=max_bytes,
        )


def _require_chunk(chunk: bytes) -> None:
    if len(chunk) > CHUNK_BYTES:
        raise MalformedPayloadError(
            f"a chunk has {len(chunk)} bytes; at most {CHUNK_BYTES} are allowed", chunk_bytes=len(chunk)
        )


def _require_not_above(received: int, declared: int) -> None:
    if received > declared:
        raise MalformedPayloadError(
            f"the stream holds at least {received} bytes of payload, but {declared} were declared",
            declared=declared,
            received=received,
        )


def _field_bytes(length: int) -> int:
    """Size of a length-delimited field with a number below 16: a tag, the length and the content."""
    return 1 + max(1, -(-length.bit_length() // 7)) + length
