"""Where the values of a sparse array are: ascending positions in the flat array, in two encodings.

``block16``, for fast links: positions are cut into blocks of 65 536; per block the number of positions in it
(u32), then for every position its offset in the block (u16). Just over two bytes each, a copy to encode.

``gaps``, for slow links: the number of positions skipped before each one, as bytes (255 means "255 skipped,
and more follows"), compressed as one zstd frame. At 1 % density about 1.02 bytes each, close to the entropy.

Both have one encoding for given positions, but for the choices of the zstd compressor.
"""

from __future__ import annotations

import struct
from typing import Any, Final, Literal

import numpy as np
import zstandard
from numpy.typing import NDArray

from chronos_common.errors import MalformedPayloadError

IndexEncoding = Literal["block16", "gaps"]
Indices = NDArray[np.int64]

ZSTD_LEVEL: Final = 3

_SPAN: Final = 1 << 16
_MORE: Final = 255
_GAP_BYTES: Final = struct.Struct("<Q")
_COUNT_DTYPE: Final = np.dtype("<u4")
_OFFSET_DTYPE: Final = np.dtype("<u2")
# Decoders of any version may be asked for this much (RFC 8878, 3.1.1.1.2); our frames need less.
_MAX_WINDOW_BYTES: Final = 8 << 20


def encode_block16(indices: Indices, size: int) -> bytes:
    """Ascending, distinct positions below ``size``."""
    counts = np.bincount(indices >> 16, minlength=-(-size // _SPAN)).astype(_COUNT_DTYPE)
    return counts.tobytes() + (indices & (_SPAN - 1)).astype(_OFFSET_DTYPE).tobytes()


def decode_block16(data: memoryview, count: int, size: int) -> Indices:
    """Inverse of :func:`encode_block16`.

    Raises:
        MalformedPayloadError: not exactly ``count`` ascending, distinct positions below ``size``.
    """
    blocks = -(-size // _SPAN)
    if len(data) != 4 * blocks + 2 * count:
        raise MalformedPayloadError(
            f"{count} positions among {size} take {4 * blocks + 2 * count} bytes, the payload has {len(data)}"
        )
    counts = np.frombuffer(data, _COUNT_DTYPE, blocks).astype(np.int64)
    if int(counts.sum()) != count:
        raise MalformedPayloadError("the payload's counts of positions do not add up")
    bases = np.repeat(np.arange(blocks, dtype=np.int64) << 16, counts)
    bases += np.frombuffer(data, _OFFSET_DTYPE, count, 4 * blocks)
    return _require_ascending(bases, size)


def encode_gaps(indices: Indices) -> bytes:
    """Ascending, distinct positions: the length of the gap bytes (u64), then their zstd frame."""
    gaps = np.diff(indices, prepend=np.int64(-1)) - 1
    lengths = gaps // _MORE + 1
    if indices.size and int(gaps.max()) >= _MORE:
        raw = np.full(int(lengths.sum()), _MORE, np.uint8)
        raw[np.cumsum(lengths) - 1] = gaps % _MORE
    else:
        raw = gaps.astype(np.uint8)
    frame = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=False).compress(raw.tobytes())
    return _GAP_BYTES.pack(raw.size) + frame


def decode_gaps(data: memoryview, count: int, size: int) -> Indices:
    """Inverse of :func:`encode_gaps`.

    Raises:
        MalformedPayloadError: not exactly ``count`` ascending, distinct positions below ``size``.
    """
    if len(data) < _GAP_BYTES.size:
        raise MalformedPayloadError("the payload ends before its gaps do")
    (raw_bytes,) = _GAP_BYTES.unpack_from(data)
    if not count <= raw_bytes <= count + size // _MORE:
        raise MalformedPayloadError(f"{raw_bytes} gap bytes cannot place {count} positions among {size}")
    raw = np.frombuffer(_decompressed(data[_GAP_BYTES.size :], raw_bytes), np.uint8)
    ends = raw != _MORE
    if int(np.count_nonzero(ends)) != count or (raw.size and not ends[-1]):
        raise MalformedPayloadError(f"the gap bytes do not place {count} positions")
    steps = raw.astype(np.int64)
    steps += ends
    np.cumsum(steps, out=steps)
    return _require_ascending(steps[ends] - 1, size)


def _decompressed(frame: memoryview, length: int) -> bytes:
    """The content of one zstd frame that must hold exactly ``length`` bytes; no more is ever allocated."""
    try:
        parameters: Any = zstandard.get_frame_parameters(frame)
        fits = parameters.content_size == length and parameters.dict_id == 0
        if not fits or parameters.window_size > max(length, _MAX_WINDOW_BYTES):
            raise MalformedPayloadError(f"the payload's zstd frame is not one of {length} gap bytes")
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
        content = decompressor.decompress(frame, max_output_size=length, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise MalformedPayloadError(f"the payload's gaps cannot be decompressed: {error}") from error
    if len(content) != length:
        raise MalformedPayloadError(f"the payload's zstd frame holds {len(content)} bytes, not {length}")
    return content


def _require_ascending(indices: Indices, size: int) -> Indices:
    if indices.size and (int(indices[-1]) >= size or not bool(np.all(indices[1:] > indices[:-1]))):
        raise MalformedPayloadError(f"positions in the payload do not ascend, or pass the {size} values")
    return indices
