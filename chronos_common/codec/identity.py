"""The lossless codec: dense data, little-endian, readable in place.

Body, revision 1 (integers are unsigned and little-endian; every entry starts at a multiple of 8)::

    u32  number of arrays
    u32  zero
    for each array, in strictly ascending order of the UTF-8 bytes of its name:
        u8   dtype: 1 = float32, 2 = float64
        u8   number of dimensions, at most 32
        u16  length of the name in bytes, 1 to 255
        u32  zero
        u64  extent, for each dimension
        -    name, UTF-8, then zeros up to a multiple of 8
        -    data, IEEE 754, C order, then zeros up to a multiple of 8

There is exactly one encoding of given arrays: order, padding and reserved fields are checked, so that equal
arrays have equal payloads and the content address of a payload identifies its arrays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from chronos_common.codec.base import Buffer
from chronos_common.codec.envelope import HEADER_BYTES, padding
from chronos_common.errors import (
    DtypeMismatchError,
    MalformedPayloadError,
    NameMismatchError,
    PayloadTooLargeError,
    UnknownCodecError,
)
from chronos_common.tensors import (
    MAX_DIMENSIONS,
    MAX_NAME_BYTES,
    Array,
    Arrays,
    TensorSpec,
    check_name,
    check_shape,
    data_view,
    specs_of,
)

_PROLOGUE: Final = struct.Struct("<II")
_ENTRY: Final = struct.Struct("<BBHI")
_DTYPE_CODES: Final = {"float32": 1, "float64": 2}
_DTYPES: Final[dict[int, np.dtype[Any]]] = {1: np.dtype("<f4"), 2: np.dtype("<f8")}


class IdentityCodec:
    """Dense arrays as they are."""

    id: Final = 1
    revision: Final = 1
    name: Final = "identity"

    def encode_body(self, arrays: Arrays) -> Sequence[Buffer]:
        """See :class:`~chronos_common.codec.base.Codec`; the pieces of data are views of the arrays."""
        pieces: list[Buffer] = [_PROLOGUE.pack(len(arrays), 0)]
        for spec in specs_of(arrays):
            name = check_name(spec.name)
            pieces.append(_ENTRY.pack(_DTYPE_CODES[spec.dtype], len(spec.shape), len(name), 0))
            pieces.append(struct.pack(f"<{len(spec.shape)}Q", *spec.shape))
            pieces.append(name + bytes(padding(len(name))))
            pieces.append(data_view(arrays[spec.name]))
            pieces.append(bytes(padding(spec.size_bytes)))
        return pieces

    def decode_body(self, body: memoryview, *, revision: int, max_bytes: int | None) -> dict[str, Array]:
        """See :class:`~chronos_common.codec.base.Codec`; the arrays are read-only views of ``body``."""
        if revision != 1:
            raise UnknownCodecError(
                f"codec 'identity' has no revision {revision} in this release; upgrade to read this payload",
                codec=self.name,
                revision=revision,
            )
        reader = _Reader(body)
        count, reserved = _PROLOGUE.unpack(reader.take(_PROLOGUE.size))
        if reserved:
            raise MalformedPayloadError("a reserved field of the payload is not zero")
        if count * _ENTRY.size > reader.left:
            raise MalformedPayloadError(
                f"{count} arrays are announced, more than {reader.left} bytes can hold"
            )
        arrays: dict[str, Array] = {}
        total, previous = 0, ""
        for _ in range(count):
            name, array = _read_entry(reader)
            if name in arrays:
                raise NameMismatchError(f"the payload names array {name!r} twice", name=name)
            if name < previous:
                raise MalformedPayloadError(f"array {name!r} follows {previous!r}; names must ascend")
            arrays[name], previous = array, name
            total += array.nbytes
            if max_bytes is not None and total > max_bytes:
                raise PayloadTooLargeError(
                    f"the arrays take more than the {max_bytes} bytes admitted", limit=max_bytes
                )
        if reader.left:
            raise MalformedPayloadError(f"{reader.left} bytes follow the last array of the payload")
        return arrays


def dense_bytes(specs: Iterable[TensorSpec]) -> int:
    """Size in bytes of the identity payload of arrays of these specs, header included."""
    total = HEADER_BYTES + _PROLOGUE.size
    for spec in specs:
        name_bytes = len(check_name(spec.name))
        total += _ENTRY.size + 8 * len(spec.shape) + name_bytes + padding(name_bytes)
        total += spec.size_bytes + padding(spec.size_bytes)
    return total


class _Reader:
    """A cursor over a body that refuses to pass its end."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._position = 0

    @property
    def left(self) -> int:
        return len(self._body) - self._position

    def take(self, length: int) -> memoryview:
        if length > self.left:
            raise MalformedPayloadError(
                f"the payload ends {length - self.left} bytes before its content does"
            )
        piece = self._body[self._position : self._position + length]
        self._position += length
        return piece

    def take_padded(self, length: int) -> memoryview:
        piece = self.take(length)
        if any(self.take(padding(length))):
            raise MalformedPayloadError("padding in the payload is not zero")
        return piece


def _read_entry(reader: _Reader) -> tuple[str, Array]:
    dtype_code, dimensions, name_bytes, reserved = _ENTRY.unpack(reader.take(_ENTRY.size))
    if reserved:
        raise MalformedPayloadError("a reserved field of the payload is not zero")
    if dimensions > MAX_DIMENSIONS:
        raise MalformedPayloadError(
            f"an array of {dimensions} dimensions; at most {MAX_DIMENSIONS} are allowed"
        )
    if not 1 <= name_bytes <= MAX_NAME_BYTES:
        raise NameMismatchError(
            f"an array's name is {name_bytes} bytes long; 1 to {MAX_NAME_BYTES} are allowed"
        )
    shape = struct.unpack(f"<{dimensions}Q", reader.take(8 * dimensions))
    name = _decoded_name(reader.take_padded(name_bytes))
    if dtype_code not in _DTYPES:
        raise DtypeMismatchError(f"array {name!r} has the unknown dtype code {dtype_code}", name=name)
    dtype = _DTYPES[dtype_code]
    size = check_shape(name, shape)
    data = reader.take_padded(size * dtype.itemsize)
    array = np.frombuffer(data, dtype, size) if size else _empty(dtype)
    return name, array.reshape(shape)


def _decoded_name(encoded: memoryview) -> str:
    try:
        name = bytes(encoded).decode("utf-8")
    except UnicodeDecodeError as error:
        raise NameMismatchError(f"an array's name is not UTF-8: {error.reason}") from error
    check_name(name)
    return name


def _empty(dtype: np.dtype[Any]) -> Array:
    array: Array = np.empty(0, dtype)
    array.flags.writeable = False
    return array
