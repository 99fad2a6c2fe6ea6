"""The codec that gives every array its own encoding."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chronos_common.codec import HEADER_BYTES, decode, encode, envelope
from chronos_common.codec.mixed import (
    Entry,
    MixedCodec,
    dense,
    dense_entry_bytes,
    int8,
    int8_entry_bytes,
    pack,
    sparse,
)
from chronos_common.errors import (
    MalformedPayloadError,
    NameMismatchError,
    NonFiniteError,
    PayloadError,
    PayloadTooLargeError,
    UnknownCodecError,
)
from chronos_common.tensors import TensorSpec, digest

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_DIGEST = "73195f0f39b27c9a35632eba2a8cfacd500b1aacbdc2b3f007de13da6308d162"

SPARSE = [(values, at) for values in ("float32", "int8") for at in ("block16", "gaps")]
FLOAT_MAX = float(np.finfo(np.float32).max)


def ramp(size: int, dtype: Any = np.float32) -> Any:
    """Exactly representable values, the same on every machine."""
    return ((np.arange(size) * 37 % 101 - 50) / 8).astype(dtype)


def golden_entries() -> list[Entry]:
    """Every encoding once; never change them, nor the file."""
    at = np.array([0, 7, 300, 70_000, 99_999])
    wide = ramp(100_000, np.float64).reshape(1000, 100)
    return [
        dense("dense/ü", ramp(5, np.float64)),
        dense("scalar", np.array(0.1, np.float32)),
        dense("empty", np.zeros((0, 3))),
        int8("int8", ramp(600).reshape(3, 200)),
        int8("int8_double", ramp(260, np.float64)),
        *(
            sparse(f"{values}_{indices}", wide, at, values=values, index_encoding=indices)  # type: ignore[arg-type]
            for values, indices in SPARSE
        ),
    ]


def test_the_first_revision_stays_decodable() -> None:
    payload = bytes.fromhex((GOLDEN / "mixed_all_r1.hex").read_text())
    assert digest(decode(payload)) == GOLDEN_DIGEST
    assert digest(decode(pack(golden_entries()))) == GOLDEN_DIGEST


values_strategy = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9),
        elements=st.floats(-FLOAT_MAX, FLOAT_MAX, width=32),
    )
)


@pytest.mark.parametrize(("values", "indices"), SPARSE)
@settings(max_examples=300)
@given(array=values_strategy, data=st.data())
def test_listed_values_come_back_and_the_others_are_zero(
    values: Any, indices: Any, array: Any, data: st.DataObject
) -> None:
    listed = (
        data.draw(st.sets(st.integers(0, max(array.size - 1, 0)), max_size=array.size)) if array.size else ()
    )
    at = np.array(sorted(listed), np.int64)
    entry = sparse("x", array, at, values=values, index_encoding=indices)
    payload = pack([entry])
    assert len(payload) == HEADER_BYTES + 8 + entry.size_bytes
    decoded = decode(payload, specs=[entry.spec])["x"]
    expected = np.zeros(array.size, array.dtype)
    expected[at] = array.reshape(-1)[at]
    if values == "float32":
        np.testing.assert_array_equal(decoded.reshape(-1), expected)
    else:
        bound = max(0.5001 * np.abs(expected).max(initial=0.0) / 127, 1.5e-36)
        assert np.abs(decoded.reshape(-1).astype(float) - expected).max(initial=0.0) <= bound
    assert not decoded.flags.writeable


@settings(max_examples=300)
@given(array=values_strategy)
def test_sizes_are_known_before_encoding(array: Any) -> None:
    spec = TensorSpec(name="x", shape=array.shape, dtype=array.dtype.name)
    assert dense("x", array).size_bytes == dense_entry_bytes(spec)
    assert int8("x", array).size_bytes == int8_entry_bytes(spec)
    np.testing.assert_array_equal(decode(pack([dense("x", array)]))["x"], array)


def test_one_payload_mixes_encodings() -> None:
    payload = pack(reversed(golden_entries()))
    assert payload == pack(golden_entries())
    assert {entry.encoding for entry in golden_entries()} == {"dense", "int8", "sparse"}


def test_the_table_takes_int8_where_it_is_smaller() -> None:
    small, large = ramp(3), ramp(1000)
    arrays = {"small": small, "large": large}
    assert encode("mixed", arrays) == pack([dense("small", small), int8("large", large)])


def test_float64_holds_exactly_the_float32_that_were_sent() -> None:
    values = np.random.default_rng(3).standard_normal(1000)
    at = np.arange(0, 1000, 10)
    for entry in (int8("x", values), sparse("x", values, at, values="float32", index_encoding="gaps")):
        decoded = decode(pack([entry]))["x"]
        assert decoded.dtype == np.float64
        np.testing.assert_array_equal(decoded, decoded.astype(np.float32))


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(NameMismatchError, match="twice"):
        pack([dense("a", ramp(2)), int8("a", ramp(2))])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    array = np.array([1.0, bad])
    at = np.array([1])
    for make in (
        lambda: dense("x", array),
        lambda: int8("x", array),
        *(
            lambda v=v, i=i: sparse("x", array, at, values=v, index_encoding=i)  # type: ignore[misc]
            for v, i in SPARSE
        ),
    ):
        with pytest.raises(NonFiniteError, match="'x'"):
            make()


def test_what_overflows_float32_is_refused_where_it_would() -> None:
    array = np.array([1.0, 1e300])
    at = np.array([1])
    dense("x", array)
    for values in ("float32", "int8"):
        with pytest.raises(NonFiniteError, match="float32"):
            sparse("x", array, at, values=values, index_encoding="gaps")  # type: ignore[arg-type]


def sealed(tag: int, data: bytes, *, size: int, dtype: int = 1) -> bytes:
    """A payload of one array ``x``, its data written by hand."""
    entry = struct.pack("<BBHIQ8s", dtype, 1, 1, tag, size, b"x")
    return envelope.seal(MixedCodec.id, 1, [struct.pack("<II", 1, 0), entry, data, bytes(-len(data) % 8)])


def sparse_data(values: int, at: int, count: int, indices: bytes, data: bytes, **fields: int) -> bytes:
    head = struct.pack(
        "<BBHIQQ", values, at, fields.get("zero", 0), fields.get("block", 0), count, len(indices)
    )
    return head + indices + bytes(-len(indices) % 8) + data


AT_ONE = struct.pack("<IH", 1, 1)
NAN32, NAN64 = struct.pack("<f", np.nan), struct.pack("<d", np.nan)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (sealed(0, bytes(8), size=2), MalformedPayloadError),
        (sealed(4, bytes(8), size=2), MalformedPayloadError),
        (sealed(1, NAN64, size=1, dtype=2), NonFiniteError),
        (sealed(1, bytes(8), size=3), MalformedPayloadError),
        (sealed(2, struct.pack("<II", 0, 0) + bytes(16), size=1), MalformedPayloadError),
        (sealed(2, struct.pack("<II", 1 << 21, 0) + bytes(16), size=1), MalformedPayloadError),
        (sealed(2, struct.pack("<II", 256, 1) + bytes(16), size=1), MalformedPayloadError),
        (sealed(2, struct.pack("<II8sf", 256, 0, b"\x80", 1.0), size=1), MalformedPayloadError),
        (sealed(2, struct.pack("<II8sf", 256, 0, b"\x01", -1.0), size=1), MalformedPayloadError),
        (sealed(2, struct.pack("<II8sf", 256, 0, b"\x01", np.nan), size=1), MalformedPayloadError),
        (sealed(2, struct.pack("<II8sf", 256, 0, b"\x01", 3e38), size=1), MalformedPayloadError),
        (sealed(3, sparse_data(1, 1, 1, AT_ONE, NAN32), size=2), NonFiniteError),
        (sealed(3, sparse_data(1, 1, 3, AT_ONE, bytes(4)), size=2), MalformedPayloadError),
        (sealed(3, sparse_data(1, 1, 1, AT_ONE, bytes(4), zero=1), size=2), MalformedPayloadError),
        (sealed(3, sparse_data(1, 1, 1, AT_ONE, bytes(4), block=1), size=2), MalformedPayloadError),
        (sealed(3, sparse_data(1, 3, 1, AT_ONE, bytes(4)), size=2), MalformedPayloadError),
        (sealed(3, sparse_data(3, 1, 1, AT_ONE, bytes(4)), size=2), MalformedPayloadError),
        (sealed(3, sparse_data(1, 1, 1, AT_ONE, bytes(4)), size=1), MalformedPayloadError),
    ],
)
def test_bad_entries_are_refused_with_their_reason(payload: bytes, error: type[PayloadError]) -> None:
    with pytest.raises(PayloadError) as caught:
        decode(payload)
    assert type(caught.value) is error


def test_a_good_entry_written_by_hand_is_read() -> None:
    decoded = decode(sealed(3, sparse_data(1, 1, 1, AT_ONE, struct.pack("<f", 2.5)), size=2))
    np.testing.assert_array_equal(decoded["x"], np.array([0.0, 2.5], np.float32))


def test_a_few_bytes_allocate_nothing_beyond_the_limit() -> None:
    gaps = struct.pack("<Q", 0) + bytes.fromhex("28b52ffd2000010000")
    bomb = sealed(3, sparse_data(1, 2, 0, gaps, b""), size=1 << 47)
    assert len(bomb) < 120
    with pytest.raises(PayloadTooLargeError):
        decode(bomb, max_bytes=1 << 30)
    with pytest.raises(PayloadTooLargeError):
        decode(bomb, specs=[TensorSpec(name="x", shape=(1000,), dtype="float32")])
    with pytest.raises(PayloadTooLargeError, match="memory"):
        decode(bomb)


def test_unknown_revisions_are_named() -> None:
    with pytest.raises(UnknownCodecError, match="revision 2"):
        decode(envelope.seal(MixedCodec.id, 2, [bytes(8)]))
