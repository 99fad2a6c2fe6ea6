"""What the bodies of all codecs share: a prologue, then one headed entry for each array, in order of names.

All integers are unsigned and little-endian, every entry starts at a multiple of 8::

    u32  number of arrays
    u32  zero
    for each array, in strictly ascending order of the UTF-8 bytes of its name:
        u8   dtype: 1 = float32, 2 = float64
        u8   number of dimensions, at most 32
        u16  length of the name in bytes, 1 to 255
        u32  tag, whose meaning is the codec's
        u64  extent, for each dimension
        -    name, UTF-8, then zeros up to a multiple of 8
        -    data, as the codec says, then zeros up to a multiple of 8
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from chronos_common.codec.base import Buffer
from chronos_common.codec.envelope import padding
from chronos_common.errors import (
    DtypeMismatchError,
    MalformedPayloadError,
    NameMismatchError,
    PayloadTooLargeError,
)
from chronos_common.tensors import (
    MAX_DIMENSIONS,
    MAX_NAME_BYTES,
    Array,
    TensorSpec,
    check_name,
    check_shape,
)

PROLOGUE_BYTES: Final = 8

_PROLOGUE: Final = struct.Struct("<II")
_ENTRY: Final = struct.Struct("<BBHI")
_DTYPE_CODES: Final = {"float32": 1, "float64": 2}
_DTYPES: Final[dict[int, np.dtype[Any]]] = {1: np.dtype("<f4"), 2: np.dtype("<f8")}


class Head(NamedTuple):
    """What precedes the data of an array."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    size: int
    tag: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the decoded array."""
        return self.size * self.dtype.itemsize


class Reader:
    """A cursor over a body that refuses to pass its end."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._position = 0

    @property
    def left(self) -> int:
        """Bytes not taken yet."""
        return len(self._body) - self._position

    def take(self, length: int) -> memoryview:
        """The next ``length`` bytes."""
        if length > self.left:
            raise MalformedPayloadError(
                f"the payload ends {length - self.left} bytes before its content does"
            )
        piece = self._body[self._position : self._position + length]
        self._position += length
        return piece

    def take_padded(self, length: int) -> memoryview:
        """The next ``length`` bytes, and past the zeros that align what follows."""
        piece = self.take(length)
        if any(self.take(padding(length))):
            raise MalformedPayloadError("padding in the payload is not zero")
        return piece

    def take_array(self, size: int, dtype: np.dtype[Any]) -> Any:
        """The next ``size`` values and their padding: a read-only view."""
        data = self.take_padded(size * dtype.itemsize)
        if size:
            return np.frombuffer(data, dtype, size)
        array = np.empty(0, dtype)
        array.flags.writeable = False
        return array


def prologue(count: int) -> bytes:
    """The start of a body of ``count`` arrays."""
    return _PROLOGUE.pack(count, 0)


def head(spec: TensorSpec, tag: int) -> list[Buffer]:
    """The pieces before an array's data."""
    name = check_name(spec.name)
    return [
        _ENTRY.pack(_DTYPE_CODES[spec.dtype], len(spec.shape), len(name), tag)
        + struct.pack(f"<{len(spec.shape)}Q", *spec.shape),
        name + bytes(padding(len(name))),
    ]


def head_bytes(spec: TensorSpec) -> int:
    """Size in bytes of what :func:`head` writes."""
    name_bytes = len(check_name(spec.name))
    return _ENTRY.size + 8 * len(spec.shape) + name_bytes + padding(name_bytes)


def read_body(
    body: memoryview, read_data: Callable[[Reader, Head], Array], *, max_bytes: int | None
) -> dict[str, Array]:
    """The arrays of a body; ``read_data`` makes one of them from what follows its head.

    It is called only after the array's size was found admissible, together with those before it.

    Raises:
        PayloadError: whatever is wrong with the bytes.
    """
    reader = Reader(body)
    count, reserved = _PROLOGUE.unpack(reader.take(PROLOGUE_BYTES))
    if reserved:
        raise MalformedPayloadError("a reserved field of the payload is not zero")
    if count * _ENTRY.size > reader.left:
        raise MalformedPayloadError(f"{count} arrays are announced, more than {reader.left} bytes can hold")
    arrays: dict[str, Array] = {}
    total, previous = 0, ""
    for _ in range(count):
        found = _read_head(reader)
        if found.name in arrays:
            raise NameMismatchError(f"the payload names array {found.name!r} twice", name=found.name)
        if found.name < previous:
            raise MalformedPayloadError(f"array {found.name!r} follows {previous!r}; names must ascend")
        total += found.size_bytes
        if max_bytes is not None and total > max_bytes:
            raise PayloadTooLargeError(
                f"the arrays take more than the {max_bytes} bytes admitted", limit=max_bytes
            )
        previous = found.name
        arrays[previous] = read_data(reader, found).reshape(found.shape)
    if reader.left:
        raise MalformedPayloadError(f"{reader.left} bytes follow the last array of the payload")
    return arrays


def _read_head(reader: Reader) -> Head:
    dtype_code, dimensions, name_bytes, tag = _ENTRY.unpack(reader.take(_ENTRY.size))
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
    return Head(name, _DTYPES[dtype_code], shape, check_shape(name, shape), tag)


def _decoded_name(encoded: memoryview) -> str:
    try:
        name = bytes(encoded).decode("utf-8")
    except UnicodeDecodeError as error:
        raise NameMismatchError(f"an array's name is not UTF-8: {error.reason}") from error
    check_name(name)
    return name
