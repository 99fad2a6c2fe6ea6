"""Int8 with one float32 scale for each block of consecutive values (absmax quantisation).

    scale = max|v| / 127          over the block, in float32
    code  = round(v · (1 / scale))  to the nearest integer, halves to even
    v'    = float32(code · scale)

The decoded product is rounded to float32 before anything else happens to it, so that every implementation
decodes to the same bits; a float64 array holds these float32 values exactly. The error is at most half a
scale, plus a rounding. A block whose scale would be subnormal (all |v| < 1.5e-36) has scale and codes of zero:
the reciprocal of such a scale overflows.

Source: Dettmers et al., "8-bit optimizers via block-wise quantization", ICLR 2022 (linear codes here).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.codec.base import Buffer
from chronos_common.codec.entries import Reader
from chronos_common.codec.envelope import padding
from chronos_common.errors import MalformedPayloadError, NonFiniteError
from chronos_common.tensors import Array

BLOCK: Final = 256
"""Values that share a scale in payloads written by this release: 1.6 % of scales on top of the codes."""

MAX_BLOCK: Final = 1 << 20
"""Largest block that is decoded."""

MAX_SCALE: Final = np.nextafter(np.float32(np.finfo(np.float32).max) / np.float32(127), np.float32(0))
"""The largest scale: 127 times it is finite."""

# A megabyte of work stays in a cache, and the interpreter costs little. A multiple of every block size below it.
_CHUNK: Final = 1 << 18
_LEVELS: Final = np.float32(127)
_MIN_SCALE: Final = np.finfo(np.float32).tiny
_MAGNITUDE: Final = np.int32(0x7FFFFFFF)
_INFINITY_BITS: Final = 0x7F800000
_SCALE_DTYPE: Final = np.dtype("<f4")
_CODE_DTYPE: Final = np.dtype("i1")


def block_count(size: int, block: int) -> int:
    """How many blocks hold ``size`` values."""
    return -(-size // block)


def data_bytes(size: int, block: int = BLOCK) -> int:
    """Bytes of :func:`write` for ``size`` values."""
    scales = 4 * block_count(size, block)
    return size + padding(size) + scales + padding(scales)


def quantise(values: Array, name: str, block: int = BLOCK) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes and scales of a flat array.

    Args:
        values: float32 or float64, one dimension; float64 is rounded to float32 first.
        name: whose values these are, for the message.
        block: values per scale, a power of two, at most 65536.

    Raises:
        NonFiniteError: a value that is not finite, or not in the range of float32.
    """
    codes = np.empty(values.size, np.int8)
    scales = np.empty(block_count(values.size, block), np.float32)
    work = np.empty(min(_CHUNK, block * len(scales)), np.float32)
    for start in range(0, values.size, _CHUNK):
        chunk = values[start : start + _CHUNK]
        first = start // block
        if chunk.dtype != np.float32 or chunk.size % block:
            chunk = _padded_float32(chunk, block)
        inside = codes[start : start + _CHUNK]
        found = scales[first : first + chunk.size // block]
        if not _quantise_chunk(chunk.reshape(-1, block), inside, found, work[: chunk.size]):
            raise NonFiniteError(
                f"array {name!r} holds a value that is not finite, or too large for float32, among the values "
                f"{start} to {start + inside.size - 1}; int8 needs values within ±3.4e38",
                name=name,
            )
    return codes, scales


def dequantise(
    codes: NDArray[np.int8], scales: NDArray[np.float32], block: int, dtype: np.dtype[Any]
) -> Array:
    """The values of codes and scales: float32 products, in ``dtype``."""
    values = np.empty(codes.size, dtype)
    step = max(block, _CHUNK // block * block)
    for start in range(0, codes.size, step):
        chunk = codes[start : start + step].astype(np.float32)
        whole = chunk.size // block
        first = start // block
        blocks = chunk[: whole * block].reshape(-1, block)
        np.multiply(blocks, scales[first : first + whole, None], out=blocks)
        if chunk.size % block:
            chunk[whole * block :] *= scales[first + whole]
        values[start : start + step] = chunk
    return values


def write(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> list[Buffer]:
    """Codes, then scales (float32), each followed by zeros up to a multiple of 8."""
    scale_data = scales.astype(_SCALE_DTYPE, copy=False).data.cast("B") if scales.size else b""
    return [
        codes.data.cast("B") if codes.size else b"",
        bytes(padding(codes.nbytes)),
        scale_data,
        bytes(padding(scales.nbytes)),
    ]


def read(reader: Reader, size: int, block: int, dtype: np.dtype[Any]) -> Array:
    """Inverse of :func:`write` and :func:`quantise`, for bytes that are not trusted.

    Raises:
        MalformedPayloadError: the data ends early, or a block size, code or scale that is never written.
    """
    if not 1 <= block <= MAX_BLOCK:
        raise MalformedPayloadError(f"a block of {block} values; 1 to {MAX_BLOCK} are allowed")
    codes = reader.take_array(size, _CODE_DTYPE)
    scales = reader.take_array(block_count(size, block), _SCALE_DTYPE)
    if not bool(np.all((scales >= 0) & (scales <= MAX_SCALE))):
        raise MalformedPayloadError(f"a scale of the payload is negative, above {MAX_SCALE} or not a number")
    if int(codes.min(initial=0)) == -128:
        raise MalformedPayloadError("the payload holds the code -128; codes lie in -127..127")
    return dequantise(codes, scales, block, dtype)


def _quantise_chunk(
    values: NDArray[np.float32],
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
    work: NDArray[np.float32],
) -> bool:
    """Quantise whole blocks; ``False`` if a value is not finite. ``codes`` may be shorter than the blocks."""
    blocks = work.reshape(values.shape)
    # Without their sign bits floats order like integers, and NaN lies above infinity.
    bits = work.view(np.int32)
    np.bitwise_and(values.view(np.int32), _MAGNITUDE, out=blocks.view(np.int32))
    # Over flat values: half the time of a maximum along the rows.
    np.maximum.reduceat(bits, np.arange(0, bits.size, values.shape[1]), out=scales.view(np.int32))
    if int(scales.view(np.int32).max(initial=0)) >= _INFINITY_BITS:
        return False
    np.divide(scales, _LEVELS, out=scales)
    np.minimum(scales, MAX_SCALE, out=scales)
    scales[scales < _MIN_SCALE] = 0
    inverse = np.zeros_like(scales)
    np.divide(np.float32(1), scales, out=inverse, where=scales > 0)
    np.multiply(values, inverse[:, None], out=blocks)
    np.rint(work, out=work)
    np.copyto(codes, work[: codes.size], casting="unsafe")
    return True


def _padded_float32(chunk: Array, block: int) -> NDArray[np.float32]:
    padded = np.zeros(block_count(chunk.size, block) * block, np.float32)
    with np.errstate(over="ignore", under="ignore"):
        padded[: chunk.size] = chunk
    return padded
