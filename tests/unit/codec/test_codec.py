"""Contract of every codec, and of the frame around it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chronos_common.codec import CODECS, HEADER_BYTES, decode, dense_bytes, encode, get_codec
from chronos_common.codec.identity import IdentityCodec
from chronos_common.codec.registry import index_by_id
from chronos_common.compression import make_pipeline
from chronos_common.errors import (
    DtypeMismatchError,
    MalformedPayloadError,
    NameMismatchError,
    PayloadError,
    PayloadTooLargeError,
    ShapeMismatchError,
    UnknownCodecError,
)
from chronos_common.tensors import TensorSpec, digest, specs_of

GOLDEN = Path(__file__).parent / "golden"
LOSSLESS = ["identity"]
FLOAT_MAX = float(np.finfo(np.float32).max)

codec_names = pytest.mark.parametrize("name", [codec.name for codec in CODECS])


def named_arrays(*, elements: st.SearchStrategy[float] | None = None) -> st.SearchStrategy[Any]:
    return st.dictionaries(
        st.text(st.characters(blacklist_categories=["Cc", "Cs"]), min_size=1, max_size=12),
        st.sampled_from([np.float32, np.float64]).flatmap(
            lambda dtype: hnp.arrays(
                dtype,
                hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
                elements=elements,
            )
        ),
        max_size=5,
    )


arrays_strategy = named_arrays()
finite_arrays = named_arrays(elements=st.floats(-FLOAT_MAX, FLOAT_MAX, width=32))


def golden_arrays() -> dict[str, Any]:
    """The arrays behind the frozen payloads; never change them, nor the files."""
    return {
        "weight": np.array([[1.5, -2.25, 0.0], [-0.0, 1e-40, 3e38]], np.float32),
        "bias": np.array([np.pi, 5e-324, -1e308]),
        "scalar": np.array(0.1),
        "empty": np.zeros((0, 3), np.float32),
        "größe/λ": np.array([7.0], np.float32),
    }


def resealed(payload: bytes) -> bytes:
    """The payload with length and checksum made right again, so that a change reaches the codec itself."""
    head = payload[:4] + struct.pack("<Q", len(payload) - HEADER_BYTES)
    checksum = zlib.crc32(payload[HEADER_BYTES:], zlib.crc32(head))
    return payload[:4] + struct.pack("<I", checksum) + head[4:] + payload[HEADER_BYTES:]


def entry(name: bytes, shape: tuple[int, ...], data: bytes, *, dtype: int = 2, reserved: int = 0) -> bytes:
    """One entry of an identity body, written by hand."""
    packed = struct.pack(f"<BBHI{len(shape)}Q", dtype, len(shape), len(name), reserved, *shape)
    return packed + name + bytes(-len(name) % 8) + data + bytes(-len(data) % 8)


def identity(*entries: bytes, count: int | None = None, tail: bytes = b"") -> bytes:
    """An identity payload with a right frame around any entries."""
    body = struct.pack("<II", len(entries) if count is None else count, 0) + b"".join(entries) + tail
    return resealed(b"CH\x01\x01" + bytes(12) + body)


def encodable(name: str) -> Any:
    """Arrays that the codec accepts: the lossy ones want finite values within the range of float32."""
    return arrays_strategy if name in LOSSLESS else finite_arrays


@codec_names
@given(data=st.data())
def test_decoding_gives_names_shapes_and_dtypes_back(name: str, data: st.DataObject) -> None:
    arrays = data.draw(encodable(name))
    decoded = decode(encode(name, arrays))
    assert specs_of(decoded) == specs_of(arrays)
    if name in LOSSLESS:
        assert digest(decoded) == digest(arrays)


@codec_names
@given(data=st.data())
def test_equal_arrays_give_equal_bytes_in_any_order(name: str, data: st.DataObject) -> None:
    arrays = data.draw(encodable(name))
    shuffled = {key: np.array(arrays[key], order="F") for key in reversed(list(arrays))}
    assert encode(name, arrays) == encode(name, shuffled)


@codec_names
def test_a_codec_is_found_by_its_name_and_id(name: str) -> None:
    codec = get_codec(name)
    payload = encode(name, golden_arrays())
    assert (codec.name, codec.id, codec.revision) == (name, payload[2], payload[3])


@codec_names
def test_the_first_revision_stays_decodable(name: str) -> None:
    payload = bytes.fromhex((GOLDEN / f"{name}_r1.hex").read_text())
    decoded = decode(payload)
    if name in LOSSLESS:
        assert digest(decoded) == digest(golden_arrays())
        assert encode(name, golden_arrays()) == payload


@given(arrays=arrays_strategy)
def test_dense_bytes_is_the_size_of_the_identity_payload(arrays: Any) -> None:
    assert dense_bytes(specs_of(arrays)) == len(encode("identity", arrays))


def test_identity_decodes_in_place_and_read_only() -> None:
    payload = encode("identity", golden_arrays())
    decoded = decode(payload)
    buffer = np.frombuffer(payload, np.uint8)
    for array in decoded.values():
        assert array.flags.aligned
        assert not array.flags.writeable
        assert array.size == 0 or np.shares_memory(array, buffer)


def test_identity_puts_every_array_on_a_multiple_of_eight() -> None:
    payload = encode("identity", {"abc": np.ones(3, np.float32), "d": np.ones(1)})
    start = np.frombuffer(payload, np.uint8).ctypes.data
    assert [(array.ctypes.data - start) % 8 for array in decode(payload).values()] == [0, 0]


@pytest.mark.parametrize("offset", range(8))
def test_any_buffer_is_accepted_and_never_becomes_writable(offset: int) -> None:
    payload = encode("identity", golden_arrays())
    backing = bytearray(bytes(offset) + payload)
    decoded = decode(memoryview(backing)[offset:])
    assert digest(decoded) == digest(golden_arrays())
    assert all(array.flags.aligned and not array.flags.writeable for array in decoded.values())


def test_strided_and_typed_views_are_accepted() -> None:
    payload = encode("identity", golden_arrays())
    doubled = bytes(byte for pair in zip(payload, payload, strict=True) for byte in pair)
    assert digest(decode(memoryview(doubled)[::2])) == digest(golden_arrays())
    assert digest(decode(memoryview(payload).cast("Q"))) == digest(golden_arrays())


def test_the_limit_counts_the_payload_and_the_arrays() -> None:
    payload = encode("identity", golden_arrays())
    decode(payload, max_bytes=len(payload))
    with pytest.raises(PayloadTooLargeError, match=f"{len(payload)} bytes"):
        decode(payload, max_bytes=len(payload) - 1)
    body = memoryview(payload)[HEADER_BYTES:]
    with pytest.raises(PayloadTooLargeError):
        IdentityCodec().decode_body(body, revision=1, max_bytes=40)


@codec_names
def test_the_expected_specs_bound_what_is_decoded(name: str) -> None:
    payload = encode(name, {"a": np.ones((2, 3)), "b": np.ones(4, np.float32)})
    specs = [
        TensorSpec(name="b", shape=(4,), dtype="float32"),
        TensorSpec(name="a", shape=(2, 3), dtype="float64"),
    ]
    assert sorted(decode(payload, specs=iter(specs))) == ["a", "b"]
    with pytest.raises(NameMismatchError):
        decode(payload, specs=specs[:1])
    with pytest.raises(ShapeMismatchError):
        decode(payload, specs=[specs[0], TensorSpec(name="a", shape=(3, 2), dtype="float64")])
    with pytest.raises(NameMismatchError):
        decode(payload, specs=[*specs, TensorSpec(name="c", shape=(), dtype="float64")])


def test_a_few_bytes_that_announce_more_than_is_expected_are_refused_before_anything_is_made() -> None:
    sparse = make_pipeline("topk1+int8").encode({"a": np.ones(1 << 20)})
    assert len(sparse) < 1 << 16
    with pytest.raises(PayloadTooLargeError):
        decode(sparse, specs=[TensorSpec(name="a", shape=(1000,), dtype="float64")])


def test_unknown_codecs_are_named() -> None:
    with pytest.raises(UnknownCodecError, match="choose one of"):
        encode("gzip", {})
    payload = encode("identity", {})
    with pytest.raises(UnknownCodecError, match="codec id 200"):
        decode(resealed(payload[:2] + b"\xc8" + payload[3:]))
    with pytest.raises(UnknownCodecError, match="revision 2"):
        decode(resealed(payload[:3] + b"\x02" + payload[4:]))


def test_the_table_checks_itself() -> None:
    with pytest.raises(AssertionError, match="share"):
        index_by_id([IdentityCodec(), IdentityCodec()])

    class OutOfRange(IdentityCodec):
        id = 0  # type: ignore[misc]  # a constant of the parent, overridden on purpose

    with pytest.raises(AssertionError, match=r"1\.\.255"):
        index_by_id([OutOfRange()])


@pytest.mark.parametrize(
    ("arrays", "error"),
    [
        ({"": np.zeros(1)}, NameMismatchError),
        ({"x" * 256: np.zeros(1)}, NameMismatchError),
        ({"a\tb": np.zeros(1)}, NameMismatchError),
        ({"a": np.zeros(1, np.int64)}, DtypeMismatchError),
        ({"a": np.zeros(1, np.float16)}, DtypeMismatchError),
    ],
)
def test_what_cannot_be_encoded_is_refused(arrays: Any, error: type[PayloadError]) -> None:
    with pytest.raises(error):
        encode("identity", arrays)


ONE = struct.pack("<d", 1.0)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", MalformedPayloadError),
        (b"CH", MalformedPayloadError),
        (b"PK\x03\x04" + bytes(60), MalformedPayloadError),
        (encode("identity", golden_arrays())[:-1], MalformedPayloadError),
        (encode("identity", golden_arrays()) + b"\0", MalformedPayloadError),
        (resealed(b"CH\x01\x01" + bytes(12)), MalformedPayloadError),
        (identity(entry(b"a", (1,), ONE), tail=bytes(8)), MalformedPayloadError),
        (identity(count=2**32 - 1), MalformedPayloadError),
        (identity(entry(b"a", (1,), ONE), count=2), MalformedPayloadError),
        (identity(entry(b"a", (2**40,), ONE)), MalformedPayloadError),
        (identity(entry(b"a", (2**63, 2**63), ONE)), ShapeMismatchError),
        (identity(entry(b"a", (0, 2**62), b"")), ShapeMismatchError),
        (identity(entry(b"a", (1,) * 40, ONE)), MalformedPayloadError),
        (identity(entry(b"a", (1,), ONE), entry(b"a", (1,), ONE)), NameMismatchError),
        (identity(entry(b"b", (1,), ONE), entry(b"a", (1,), ONE)), MalformedPayloadError),
        (identity(entry(b"", (1,), ONE)), NameMismatchError),
        (identity(entry(b"x" * 256, (1,), ONE)), NameMismatchError),
        (identity(entry(b"a\x01", (1,), ONE)), NameMismatchError),
        (identity(entry(b"\xff\xfe", (1,), ONE)), NameMismatchError),
        (identity(entry(b"a", (1,), ONE, dtype=0)), DtypeMismatchError),
        (identity(entry(b"a", (1,), ONE, dtype=9)), DtypeMismatchError),
        (identity(entry(b"a", (1,), ONE, reserved=1)), MalformedPayloadError),
        (resealed(b"CH\x01\x01" + bytes(12) + struct.pack("<II", 0, 1)), MalformedPayloadError),
        (
            identity(entry(b"a", (1,), ONE).replace(b"a" + bytes(7), b"a" + bytes(6) + b"!")),
            MalformedPayloadError,
        ),
    ],
)
def test_bad_payloads_are_refused_with_their_reason(payload: bytes, error: type[PayloadError]) -> None:
    with pytest.raises(PayloadError) as caught:
        decode(payload)
    assert type(caught.value) is error


def test_every_flipped_bit_is_noticed() -> None:
    payload = encode("identity", {"w": np.arange(4.0), "b": np.ones(1, np.float32)})
    for position in range(len(payload) * 8):
        mutated = bytearray(payload)
        mutated[position // 8] ^= 1 << position % 8
        with pytest.raises(PayloadError):
            decode(bytes(mutated))
