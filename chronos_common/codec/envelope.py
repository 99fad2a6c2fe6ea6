"""The frame around every payload.

All integers are unsigned and little-endian::

    offset  size  field
    0       2     magic, the ASCII letters "CH"
    2       1     codec id
    3       1     revision of that codec
    4       4     CRC-32 (zlib's) of bytes 0..3, then bytes 8..15, then the body
    8       8     length of the body in bytes
    16      -     body

The checksum finds accidents in storage and transport (and bodies that were cut or extended); it is no defence
against an adversary, so that codecs trust nothing in a body.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from chronos_common.codec.base import Buffer
from chronos_common.errors import MalformedPayloadError

HEADER_BYTES: Final = 16
ALIGNMENT_BYTES: Final = 8

_MAGIC: Final = b"CH"
_HEADER: Final = struct.Struct("<2sBBIQ")


class Frame(NamedTuple):
    """An opened payload: who wrote it, and its body (read-only, aligned to 8 bytes)."""

    codec_id: int
    revision: int
    body: memoryview


def seal(codec_id: int, revision: int, body: Sequence[Buffer]) -> bytes:
    """Frame the pieces of a body."""
    length = sum(len(piece) for piece in body)
    header = _HEADER.pack(_MAGIC, codec_id, revision, 0, length)
    checksum = zlib.crc32(header[8:], zlib.crc32(header[:4]))
    for piece in body:
        checksum = zlib.crc32(piece, checksum)
    return b"".join([_HEADER.pack(_MAGIC, codec_id, revision, checksum, length), *body])


def unseal(payload: Buffer) -> Frame:
    """Check a payload's frame and open it without copying the body.

    A payload that does not start at a multiple of 8 in memory, or is not contiguous, is copied once.

    Raises:
        MalformedPayloadError: too short, no Chronos payload, cut, extended, or corrupted.
    """
    view = _aligned(payload)
    if len(view) < HEADER_BYTES:
        raise MalformedPayloadError(
            f"a payload has at least {HEADER_BYTES} bytes, this one has {len(view)}; it was cut or is empty"
        )
    magic, codec_id, revision, checksum, length = _HEADER.unpack_from(view)
    if magic != _MAGIC:
        raise MalformedPayloadError(
            f"not a Chronos payload: it starts with {bytes(magic)!r} instead of {_MAGIC!r}"
        )
    body = view[HEADER_BYTES:]
    if length != len(body):
        raise MalformedPayloadError(
            f"the payload announces a body of {length} bytes and has {len(body)}; it was cut or extended"
        )
    actual = zlib.crc32(body, zlib.crc32(view[8:HEADER_BYTES], zlib.crc32(view[:4])))
    if actual != checksum:
        raise MalformedPayloadError(
            f"the payload's checksum is {actual:#010x}, its header says {checksum:#010x}; "
            "it was damaged on the way or at rest"
        )
    return Frame(codec_id, revision, body)


def padding(length: int) -> int:
    """How many zero bytes bring ``length`` to the next multiple of 8."""
    return -length % ALIGNMENT_BYTES


def _aligned(payload: Buffer) -> memoryview:
    view = memoryview(payload)
    if not view.c_contiguous:
        return memoryview(view.tobytes())
    flat = view.toreadonly() if view.ndim == 1 and view.format == "B" else view.toreadonly().cast("B")
    return flat if _address(flat) % ALIGNMENT_BYTES == 0 else memoryview(bytes(flat))


def _address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).ctypes.data) if len(view) else 0
