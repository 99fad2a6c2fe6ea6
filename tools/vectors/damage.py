"""Payloads that must be refused, and the reason."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import zstandard

from chronos_common.codec import encode
from chronos_common.codec.envelope import padding, seal
from tools.vectors.plain import ramp

MALFORMED: Final = "MALFORMED_PAYLOAD"
NAME: Final = "NAME_MISMATCH"
SHAPE: Final = "SHAPE_MISMATCH"
DTYPE: Final = "DTYPE_MISMATCH"
UNKNOWN: Final = "UNKNOWN_CODEC"
NON_FINITE: Final = "NON_FINITE"
TOO_LARGE: Final = "PAYLOAD_TOO_LARGE"

U: Final = {"name": "u", "dtype": "float32", "shape": [2]}
Case = tuple[str, bytes, str] | tuple[str, bytes, str, dict[str, Any]]


def malformed_vectors() -> list[dict[str, Any]]:
    """Rows of the manifest, with ``specs`` or ``max_bytes`` where it takes a receiver that expects something."""
    cases = [*_frames(), *_heads(), *_int8(), *_sparse(), *_gaps(), *_expectations()]
    return [
        {"name": name, "reason": reason, "hex": payload.hex(), **(more[0] if more else {})}
        for name, payload, reason, *more in cases
    ]


def entry(
    name: bytes = b"u", *, dtype: int = 1, shape: tuple[int, ...] = (2,), tag: int = 0, data: bytes = bytes(8)
) -> bytes:
    """An array as it stands in a body, right or wrong."""
    head = struct.pack("<BBHI", dtype, len(shape), len(name), tag) + struct.pack(f"<{len(shape)}Q", *shape)
    return head + padded(name) + padded(data)


def padded(data: bytes) -> bytes:
    """The bytes and the zeros behind them."""
    return data + bytes(padding(len(data)))


def identity(*entries: bytes, count: int | None = None, reserved: int = 0, end: bytes = b"") -> bytes:
    """A sealed payload of these entries."""
    prologue = struct.pack("<II", len(entries) if count is None else count, reserved)
    return seal(1, 1, [prologue, *entries, end])


def lossy(data: bytes, *, tag: int, dtype: int = 1, size: int = 4) -> bytes:
    """A sealed payload of codec 2 with one array."""
    prologue = struct.pack("<II", 1, 0)
    return seal(2, 1, [prologue, entry(dtype=dtype, shape=(size,), tag=tag, data=data)])


def _frames() -> list[Case]:
    good = encode("identity", {"u": np.array([1.0, 2.0], np.float32)})
    flipped = good[:-3] + bytes([good[-3] ^ 1]) + good[-2:]
    return [
        ("nothing", b"", MALFORMED),
        ("short-frame", good[:15], MALFORMED),
        ("other-magic", b"HC" + good[2:], MALFORMED),
        ("cut", good[:-8], MALFORMED),
        ("extended", good + bytes(8), MALFORMED),
        ("flipped-bit", flipped, MALFORMED),
        ("unknown-codec", seal(77, 1, [good[16:]]), UNKNOWN),
        ("unknown-revision", seal(1, 2, [good[16:]]), UNKNOWN),
        ("unknown-revision-mixed", seal(2, 9, [good[16:]]), UNKNOWN),
    ]


def _heads() -> list[Case]:
    two = entry(b"b")
    return [
        ("short-body", seal(1, 1, [bytes(4)]), MALFORMED),
        ("reserved-count", identity(entry(), reserved=1), MALFORMED),
        ("reserved-tag", identity(entry(tag=1)), MALFORMED),
        ("too-many-arrays", identity(entry(), count=2**32 - 1), MALFORMED),
        ("fewer-arrays", identity(entry(), count=2), MALFORMED),
        ("bytes-left", identity(entry(), end=bytes(8)), MALFORMED),
        ("padding", identity(entry(b"a", shape=(1,), data=bytes(5) + b"\x01\0\0")), MALFORMED),
        (
            "name-padding",
            identity(entry(b"u\0\0\x01", data=bytes(8)).replace(b"\x04\0", b"\x01\0", 1)),
            MALFORMED,
        ),
        ("descending-names", identity(two, entry(b"a")), MALFORMED),
        ("name-twice", identity(two, two), NAME),
        ("empty-name", identity(entry(b"")), NAME),
        ("long-name", identity(entry(b"n" * 256)), NAME),
        ("name-not-utf8", identity(entry(b"\xff\xfe")), NAME),
        ("name-with-control", identity(entry(b"a\nb")), NAME),
        ("dtype-code", identity(entry(dtype=3)), DTYPE),
        ("dimensions", identity(entry(shape=(1,) * 33, data=bytes(4))), MALFORMED),
        ("elements", identity(entry(shape=(2**30, 2**30))), SHAPE),
        ("values-missing", identity(entry(shape=(1000,))), MALFORMED),
    ]


def _int8() -> list[Case]:
    def data(
        block: int = 256, reserved: int = 0, codes: bytes = b"\x01\x02\x03\x04", scale: float = 0.5
    ) -> bytes:
        return struct.pack("<II", block, reserved) + padded(codes) + struct.pack("<f", scale)

    dense = np.array([1.0, np.nan], np.float64).tobytes()
    return [
        ("dense-not-finite", lossy(dense, tag=1, dtype=2, size=2), NON_FINITE),
        ("encoding", lossy(bytes(16), tag=9), MALFORMED),
        ("int8-block-zero", lossy(data(block=0), tag=2), MALFORMED),
        ("int8-block-large", lossy(data(block=2**20 + 1), tag=2), MALFORMED),
        ("int8-reserved", lossy(data(reserved=1), tag=2), MALFORMED),
        ("int8-code", lossy(data(codes=b"\x01\x80\x03\x04"), tag=2), MALFORMED),
        ("int8-scale-negative", lossy(data(scale=-0.5), tag=2), MALFORMED),
        ("int8-scale-large", lossy(data(scale=3e38), tag=2), MALFORMED),
        ("int8-scale-nan", lossy(data(scale=float("nan")), tag=2), MALFORMED),
    ]


def _listed(
    indices: bytes, *, kind: int = 1, at: int = 1, reserved: int = 0, block: int = 0, count: int = 2
) -> bytes:
    start = struct.pack("<BBHIQQ", kind, at, reserved, block, count, len(indices))
    return start + padded(indices) + struct.pack(f"<{min(count, 8)}f", *range(1, 1 + min(count, 8)))


def _sparse() -> list[Case]:
    def block16(*offsets: int, total: int | None = None) -> bytes:
        count = len(offsets) if total is None else total
        return struct.pack("<I", count) + struct.pack(f"<{len(offsets)}H", *offsets)

    nan = struct.pack("<BBHIQQ", 1, 1, 0, 0, 2, 8) + block16(0, 2) + struct.pack("<2f", 1.0, float("inf"))
    return [
        ("sparse-reserved", lossy(_listed(block16(0, 2), reserved=1), tag=3), MALFORMED),
        ("sparse-block-of-floats", lossy(_listed(block16(0, 2), block=256), tag=3), MALFORMED),
        ("sparse-values", lossy(_listed(block16(0, 2), kind=3), tag=3), MALFORMED),
        ("sparse-indices", lossy(_listed(block16(0, 2), at=3), tag=3), MALFORMED),
        ("sparse-count", lossy(_listed(block16(0, 1, 2, 3, 3), count=5), tag=3), MALFORMED),
        ("sparse-not-finite", lossy(nan, tag=3), NON_FINITE),
        ("block16-length", lossy(_listed(block16(0, 2) + b"\0\0"), tag=3), MALFORMED),
        ("block16-total", lossy(_listed(block16(0, 2, total=1)), tag=3), MALFORMED),
        ("block16-descending", lossy(_listed(block16(2, 0)), tag=3), MALFORMED),
        ("block16-twice", lossy(_listed(block16(2, 2)), tag=3), MALFORMED),
        ("block16-beyond", lossy(_listed(block16(0, 4)), tag=3), MALFORMED),
    ]


def _gaps() -> list[Case]:
    def frame(raw: bytes, *, announced: int | None = None, **options: Any) -> bytes:
        compressor = zstandard.ZstdCompressor(level=3, **options)
        return struct.pack("<Q", len(raw) if announced is None else announced) + compressor.compress(raw)

    def case(name: str, data: bytes, size: int = 4) -> Case:
        return (f"gaps-{name}", lossy(_listed(data, at=2), tag=3, size=size), MALFORMED)

    good = frame(b"\0\1")
    streamed = zstandard.ZstdCompressor(level=3).compressobj()
    unsized = struct.pack("<Q", 2) + streamed.compress(b"\0\1") + streamed.flush()
    return [
        case("short", b"\0\0\0"),
        case("announced", frame(b"\0\1", announced=3), size=1000),
        case("too-few", frame(b"\0")),
        case("too-many", frame(b"\0\0\0"), size=300),
        case("beyond", frame(b"\0\3")),
        case("open-end", frame(b"\0\0\xff"), size=300),
        case("not-zstd", good[:8] + b"\0" + good[9:]),
        case("cut-frame", good[:-1]),
        case("two-frames", good + good[8:]),
        case("unsized", unsized),
    ]


def _expectations() -> list[Case]:
    """Well-formed, but not what the receiver takes."""
    two = encode("identity", {"u": ramp(2), "v": ramp(2)})
    one = encode("identity", {"u": ramp(2)})
    empty = struct.pack("<BBHIQQ", 1, 1, 0, 0, 0, 4 * 2**24)
    huge = lossy(empty, tag=3, size=2**40)
    expect: Callable[..., dict[str, Any]] = lambda **changes: {"specs": [{**U, **changes}]}  # noqa: E731
    return [
        ("unexpected-array", two, NAME, expect()),
        ("missing-array", one, NAME, {"specs": [U, {**U, "name": "v"}]}),
        ("other-shape", one, SHAPE, expect(shape=[1, 2])),
        ("other-dtype", encode("identity", {"u": ramp(2, np.float64)}), DTYPE, expect()),
        ("larger-than-expected", huge, TOO_LARGE, expect()),
        ("above-the-limit", one, TOO_LARGE, {"max_bytes": len(one) - 1}),
    ]
