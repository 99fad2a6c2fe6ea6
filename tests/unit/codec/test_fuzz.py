"""Whatever the bytes are, decoding gives legal arrays within the limit, or a PayloadError.

What a lossless codec decodes encodes to exactly the same bytes again.
"""

from __future__ import annotations

import random
import struct
import zlib
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.codec import CODECS, HEADER_BYTES, decode, encode, mixed
from chronos_common.codec.indices import IndexEncoding
from chronos_common.errors import PayloadError
from chronos_common.tensors import specs_of

MUTATIONS = 12_000
LIMIT = 1 << 20
INTERESTING = [0, 1, 2, 7, 8, 0x20, 0x7F, 0x80, 0xFF]


def sealed(payload: bytes) -> bytes:
    """The payload with length and checksum made right, so that mutations reach the codec."""
    head, body = payload[:4] + struct.pack("<Q", len(payload) - HEADER_BYTES), payload[HEADER_BYTES:]
    return payload[:4] + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + head[4:] + body


def survives(payload: bytes, codec: str) -> bool:
    """Whether the payload decodes; if it does, to something that can be trusted as far as the codec promises."""
    try:
        arrays = decode(payload, max_bytes=LIMIT)
    except PayloadError:
        return False
    assert sum(spec.size_bytes for spec in specs_of(arrays)) <= LIMIT
    if codec == "identity":
        assert encode(codec, arrays) == payload
    else:
        assert all(np.isfinite(array).all() for array in arrays.values())
    return True


def sparse_seeds() -> list[bytes]:
    """One payload for each way to write a sparse array."""
    values = np.zeros(700)
    values[[3, 299, 300, 699]] = [1.0, -2.5, 1e-3, 4.0]
    at = np.flatnonzero(values)
    return [
        mixed.pack([mixed.sparse("a", values, at, values=kind, index_encoding=indices)])
        for kind in get_args(mixed.ValueEncoding)
        for indices in get_args(IndexEncoding)
    ]


def mutate(payload: bytes, rng: random.Random) -> bytes:
    data = bytearray(payload)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        position = rng.randrange(HEADER_BYTES, len(data)) if len(data) > HEADER_BYTES else 0
        match rng.randrange(6):
            case 0:
                data[position] ^= 1 << rng.randrange(8)
            case 1:
                data[position] = rng.choice(INTERESTING)
            case 2:
                del data[position : position + rng.choice([1, 4, 8])]
            case 3:
                data[position:position] = rng.randbytes(rng.choice([1, 8]))
            case 4:
                data[position : position + 8] = rng.choice([0, 1, 2**31, 2**32, 2**63, 2**64 - 1]).to_bytes(
                    8, "little"
                )
            case _:
                start = rng.randrange(HEADER_BYTES, len(data)) if len(data) > HEADER_BYTES else 0
                data[position:position] = data[start : start + 24]
        if len(data) <= HEADER_BYTES:
            break
    return bytes(data)


@pytest.mark.parametrize("codec", [codec.name for codec in CODECS])
def test_mutated_payloads_with_a_right_checksum_never_surprise(codec: str) -> None:
    rng = random.Random(20)
    seeds = [
        encode(codec, {}),
        encode(codec, {"a": np.arange(3.0)}),
        encode(codec, {"a": np.ones((2, 2), np.float32), "b": np.array(1.0), "c": np.zeros((0, 4))}),
        encode(codec, {"a": np.linspace(-1, 1, 300)}),
        *(sparse_seeds() if codec == "mixed" else []),
    ]
    decoded = 0
    for _ in range(MUTATIONS):
        mutated = mutate(rng.choice(seeds), rng)
        decoded += survives(sealed(mutated) if len(mutated) >= HEADER_BYTES else mutated, codec)
    assert 0 < decoded < MUTATIONS


@given(st.binary(max_size=200))
def test_garbage_never_surprises(garbage: bytes) -> None:
    survives(garbage, "identity")
    for codec in CODECS:
        survives(sealed(b"CH" + bytes([codec.id, codec.revision]) + bytes(12) + garbage), codec.name)
