from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.errors import (
    InvalidRequestError,
    MalformedPayloadError,
    PayloadTooLargeError,
    UnavailableError,
)
from chronos_common.pb.chronos.v1.coordinator_pb2 import (
    CheckoutHeader,
    CheckoutVersionResponse,
    CommitHeader,
    CommitUpdateRequest,
)
from chronos_common.wire.chunks import (
    FRAME_BYTES,
    PayloadReader,
    chunk_messages,
    framed_bytes,
    message_bytes,
    require_admissible,
)
from chronos_common.wire.limits import CHUNK_BYTES

SIZES = [0, 1, 127, 128, 16_384, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 5_000_000]


async def stream(messages: Iterable[Any]) -> AsyncIterator[Any]:
    for message in messages:
        yield message


def reader(*messages: CommitUpdateRequest, idle_seconds: float = 5.0) -> PayloadReader[CommitHeader]:
    return PayloadReader(stream(messages), idle_seconds=idle_seconds)


def first(payload_bytes: int, chunk: bytes = b"") -> CommitUpdateRequest:
    return CommitUpdateRequest(header=CommitHeader(run_id="run-1", payload_bytes=payload_bytes), chunk=chunk)


def test_a_message_costs_its_bytes_and_a_prefix() -> None:
    message = first(3, b"abc")
    assert message_bytes(message) == FRAME_BYTES + len(message.SerializeToString())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["", "r", "r" * 200])
def test_framed_bytes_is_what_the_messages_cost(size: int, name: str) -> None:
    header = CheckoutHeader(run_id=name, payload_bytes=size)
    messages = list(chunk_messages(header, bytes(size), CheckoutVersionResponse))
    assert framed_bytes(header.ByteSize(), size) == sum(map(message_bytes, messages))


@pytest.mark.parametrize("size", SIZES)
async def test_payloads_arrive_whole(size: int) -> None:
    payload = bytes(i % 256 for i in range(256)) * (size // 256) + bytes(size % 256)
    header = CommitHeader(run_id="run-1", payload_bytes=size)
    messages = list(chunk_messages(header, payload, CommitUpdateRequest))
    assert [message.HasField("header") for message in messages] == [True] + [False] * (len(messages) - 1)
    assert len(messages) == max(1, -(-size // CHUNK_BYTES))
    receiver = reader(*messages)
    assert await receiver.header() == header
    assert await receiver.payload(size) == payload
    assert receiver.message_bytes == sum(map(message_bytes, messages))


@given(st.binary(max_size=64), st.lists(st.integers(1, 64), max_size=8))
def test_any_cut_into_chunks_gives_the_same_payload(payload: bytes, cuts: list[int]) -> None:
    points = sorted({min(cut, len(payload)) for cut in cuts})
    edges = [0, *points, len(payload)]
    chunks = [payload[a:b] for a, b in pairwise(edges) if a < b]
    messages = [first(len(payload), chunks[0] if chunks else b"")]
    messages += [CommitUpdateRequest(chunk=chunk) for chunk in chunks[1:]]

    async def received() -> bytes:
        receiver = reader(*messages)
        await receiver.header()
        return await receiver.payload(64)

    assert asyncio.run(received()) == payload


async def test_a_declaration_above_the_limit_is_refused_without_reading_on() -> None:
    read = 0

    async def endless() -> AsyncIterator[CommitUpdateRequest]:
        nonlocal read
        yield first(11)
        while True:
            read += 1
            yield CommitUpdateRequest(chunk=b"a")

    receiver: PayloadReader[CommitHeader] = PayloadReader(endless(), idle_seconds=5.0)
    await receiver.header()
    with pytest.raises(PayloadTooLargeError) as caught:
        await receiver.payload(10)
    assert caught.value.details == {"payload_bytes": 11, "max_payload_bytes": 10}
    assert read == 0


async def test_a_stream_longer_than_declared_is_cut_at_the_first_byte_too_many() -> None:
    read = 0

    async def endless() -> AsyncIterator[CommitUpdateRequest]:
        nonlocal read
        yield first(3)
        while True:
            read += 1
            yield CommitUpdateRequest(chunk=b"ab")

    receiver: PayloadReader[CommitHeader] = PayloadReader(endless(), idle_seconds=5.0)
    await receiver.header()
    with pytest.raises(MalformedPayloadError, match="at least 4"):
        await receiver.payload(10)
    assert read == 2


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], InvalidRequestError),
        ([CommitUpdateRequest(chunk=b"a")], InvalidRequestError),
        ([first(2, b"a"), first(2, b"b")], InvalidRequestError),
        ([first(2, b"a")], MalformedPayloadError),
        ([first(2, b"abc")], MalformedPayloadError),
        ([first(2, b"a"), CommitUpdateRequest(), CommitUpdateRequest(chunk=b"b")], MalformedPayloadError),
        ([first(CHUNK_BYTES + 1, bytes(CHUNK_BYTES + 1))], MalformedPayloadError),
    ],
)
async def test_broken_streams(messages: list[CommitUpdateRequest], expected: type[Exception]) -> None:
    receiver = reader(*messages)

    async def receive() -> None:
        await receiver.header()
        await receiver.payload(1 << 30)

    with pytest.raises(expected):
        await receive()


async def test_the_payload_cannot_come_before_the_header() -> None:
    with pytest.raises(InvalidRequestError, match="before its payload"):
        await reader(first(0)).payload(10)


async def test_silence_ends_the_wait() -> None:
    async def silent(messages: Iterable[CommitUpdateRequest]) -> AsyncIterator[CommitUpdateRequest]:
        for message in messages:
            yield message
        await asyncio.Event().wait()

    mute: PayloadReader[CommitHeader] = PayloadReader(
        silent([]), idle_seconds=5.0, header_seconds=0.01, peer="worker 'w'"
    )
    with pytest.raises(UnavailableError, match=r"worker 'w' sent nothing for 0\.01 s"):
        await mute.header()
    stuck: PayloadReader[CommitHeader] = PayloadReader(silent([first(2, b"a")]), idle_seconds=0.01)
    await stuck.header()
    with pytest.raises(UnavailableError):
        await stuck.payload(10)


def test_a_payload_at_the_limit_is_admissible() -> None:
    require_admissible(10, 10)
    with pytest.raises(PayloadTooLargeError):
        require_admissible(11, 10)
