"""Positions of sparse values: both encodings, and what hostile bytes cannot do to them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.codec.indices import decode_block16, decode_gaps, encode_block16, encode_gaps
from chronos_common.errors import MalformedPayloadError

positions = st.integers(0, 300_000).flatmap(
    lambda size: st.tuples(
        st.just(size), st.sets(st.integers(0, max(size - 1, 0)), max_size=min(size, 40)).map(sorted)
    )
)


def frame(raw: bytes, *, announced: int | None = None, **options: object) -> memoryview:
    packed = zstandard.ZstdCompressor(**options).compress(raw)  # type: ignore[arg-type]
    return memoryview(struct.pack("<Q", len(raw) if announced is None else announced) + packed)


@given(positions)
def test_positions_come_back(case: tuple[int, list[int]]) -> None:
    size, listed = case
    indices = np.array(listed, np.int64)
    for data, decoder in (
        (encode_block16(indices, size), decode_block16),
        (encode_gaps(indices), decode_gaps),
    ):
        np.testing.assert_array_equal(decoder(memoryview(data), len(listed), size), indices)


@pytest.mark.parametrize("gap", [0, 1, 253, 254, 255, 256, 509, 510, 511, 65_535, 65_536, 131_072])
def test_gaps_around_the_escape(gap: int) -> None:
    indices = np.array([gap, 2 * gap + 1], np.int64)
    size = 2 * gap + 2
    np.testing.assert_array_equal(decode_gaps(memoryview(encode_gaps(indices)), 2, size), indices)
    data = memoryview(encode_block16(indices, size))
    np.testing.assert_array_equal(decode_block16(data, 2, size), indices)


def test_one_percent_takes_two_bytes_or_one_for_each_position() -> None:
    indices = np.flatnonzero(np.random.default_rng(0).random(1_000_000) < 0.01)
    assert len(encode_block16(indices, 1_000_000)) / indices.size < 2.01
    assert len(encode_gaps(indices)) / indices.size < 1.03


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 0),
        (bytes(4), 1),
        (struct.pack("<IH", 1, 10), 1),
        (struct.pack("<IH", 2, 1), 1),
        (struct.pack("<I2H", 2, 3, 3), 2),
        (struct.pack("<I2H", 2, 3, 2), 2),
    ],
)
def test_wrong_block16_positions_are_refused(data: bytes, count: int) -> None:
    with pytest.raises(MalformedPayloadError):
        decode_block16(memoryview(data), count, 10)


@pytest.mark.parametrize(
    ("data", "count", "size"),
    [
        (memoryview(b""), 0, 10),
        (memoryview(struct.pack("<Q", 1) + b"no zstd frame"), 1, 10),
        (frame(b"\x0a"), 1, 10),
        (frame(b"\x00\x00"), 1, 10),
        (frame(b"\x01\xff"), 1, 600),
        (frame(b"\xff\x01"), 2, 600),
        (frame(b"\x01", announced=2), 1, 600),
        (frame(b"\x01\x02")[:-1], 2, 10),
        (memoryview(bytes(frame(b"\x01")) + b"!"), 1, 10),
        (memoryview(bytes(frame(b"\x01")) + bytes(frame(b"\x01"))[8:]), 1, 10),
        (frame(b"\x01", write_content_size=False), 1, 10),
    ],
)
def test_wrong_gaps_are_refused(data: memoryview, count: int, size: int) -> None:
    with pytest.raises(MalformedPayloadError):
        decode_gaps(data, count, size)


def test_a_bomb_is_refused_by_what_it_announces() -> None:
    bomb = frame(bytes(50_000_000), announced=100)
    assert len(bomb) < 10_000
    with pytest.raises(MalformedPayloadError, match="not one of 100 gap bytes"):
        decode_gaps(bomb, 100, 1000)
    with pytest.raises(MalformedPayloadError, match="cannot place"):
        decode_gaps(frame(bytes(50_000_000)), 100, 1000)
