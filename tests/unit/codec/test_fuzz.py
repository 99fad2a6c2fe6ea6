"""Whatever the bytes are, decoding gives arrays that encode to exactly these bytes, or a PayloadError."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.codec import CODECS, HEADER_BYTES, decode, encode
from chronos_common.errors import PayloadError

MUTATIONS = 12_000
INTERESTING = [0, 1, 2, 7, 8, 0x20, 0x7F, 0x80, 0xFF]


def sealed(payload: bytes) -> bytes:
    """The payload with length and checksum made right, so that mutations reach the codec."""
    head, body = payload[:4] + struct.pack("<Q", len(payload) - HEADER_BYTES), payload[HEADER_BYTES:]
    return payload[:4] + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + head[4:] + body


def survives(payload: bytes, codec: str) -> bool:
    """Whether the payload decodes; if it does, it must be the one encoding of what it decodes to."""
    try:
        arrays = decode(payload, max_bytes=1 << 20)
    except PayloadError:
        return False
    assert encode(codec, arrays) == payload
    return True


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
    ]
    decoded = 0
    for _ in range(MUTATIONS):
        mutated = mutate(rng.choice(seeds), rng)
        decoded += survives(sealed(mutated) if len(mutated) >= HEADER_BYTES else mutated, codec)
    assert 0 < decoded < MUTATIONS


@given(st.binary(max_size=200))
def test_garbage_never_surprises(garbage: bytes) -> None:
    survives(garbage, "identity")
    survives(sealed(b"CH\x01\x01" + bytes(12) + garbage), "identity")
