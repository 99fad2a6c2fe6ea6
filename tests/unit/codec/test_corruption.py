"""Ten thousand ways to spoil a payload: a typed error, never a crash, never a wrong tensor."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chronos_common.codec import HEADER_BYTES, decode, encode
from chronos_common.compression import make_pipeline
from chronos_common.errors import PayloadError
from chronos_common.tensors import Arrays, digest, require_like, specs_of

CASES = 6_000
PIPELINES = ["identity", "int8", "topk10", "topk10+int8", "topk1+int8"]


def original() -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "large": rng.standard_normal((30, 20)).astype(np.float32),
        "double": rng.standard_normal(400),
        "small": np.array([1.0, -2.0]),
    }


SPECS = specs_of(original())
PAYLOADS = [make_pipeline(name).encode(original()) for name in PIPELINES] + [encode("mixed", original())]

spoilt = st.builds(
    lambda payload, kind, at, junk: _spoil(payload, kind, at % len(payload), junk),
    st.sampled_from(PAYLOADS),
    st.sampled_from(["cut", "flip", "write", "insert", "drop", "append"]),
    st.integers(0, 1 << 16),
    st.one_of(
        st.binary(min_size=1, max_size=8),
        st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\x80", b"\x7f\xff\xff\xff"]),
    ),
)
many = settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _spoil(payload: bytes, kind: str, at: int, junk: bytes) -> bytes:
    match kind:
        case "cut":
            return payload[:at]
        case "flip":
            return payload[:at] + bytes([payload[at] ^ (junk[0] or 1)]) + payload[at + 1 :]
        case "write":
            return payload[:at] + junk + payload[at + len(junk) :]
        case "insert":
            return payload[:at] + junk + payload[at:]
        case "drop":
            return payload[:at] + payload[at + len(junk) :]
        case _:
            return payload + junk


def _resealed(payload: bytes) -> bytes:
    head, body = payload[:4] + struct.pack("<Q", len(payload) - HEADER_BYTES), payload[HEADER_BYTES:]
    return payload[:4] + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + head[4:] + body


@pytest.mark.slow
@pytest.mark.histories
@many
@given(payload=spoilt)
def test_accidents_are_always_noticed(payload: bytes) -> None:
    if payload in PAYLOADS:
        return
    with pytest.raises(PayloadError):
        decode(payload, specs=SPECS)


@pytest.mark.slow
@pytest.mark.histories
@many
@given(payload=spoilt)
def test_forgeries_give_the_expected_arrays_or_an_error(payload: bytes) -> None:
    if len(payload) < HEADER_BYTES:
        return
    try:
        arrays = decode(_resealed(payload), specs=SPECS)
    except PayloadError:
        return
    require_like(arrays, SPECS)
    if payload[2] == 2:
        assert all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_is_whole_decodes_the_same_every_time(payload: bytes) -> None:
    assert digest(decode(payload, specs=SPECS)) == digest(decode(bytearray(payload)))
