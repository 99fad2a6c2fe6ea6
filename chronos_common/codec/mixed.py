"""The lossy codec: every array in the encoding that suits it.

Body, revision 1: as ``entries.py`` says, with the encoding as the tag, and as data (all parts padded with
zeros to a multiple of 8)::

    1 dense    the values, IEEE 754, C order: lossless, but finite
    2 int8     u32 block size, u32 zero; codes, i8 each; scales, f32 for each block (see ``blocks.py``)
    3 sparse   u8 values: 1 = float32, 2 = int8
               u8 indices: 1 = block16, 2 = gaps (see ``indices.py``)
               u16 zero
               u32 block size for int8 values, otherwise zero
               u64 number of values
               u64 bytes of indices
               -   indices
               -   values: f32 each; or codes, then scales, as in int8, over the values in order

Positions that a sparse array does not list are +0.0. Values that pass through float32 or int8 decode to float32
values, whatever the dtype of the array; float64 holds them exactly. Everything decoded is finite.

A compressor decides which encoding an array gets: :func:`dense`, :func:`int8` and :func:`sparse` make the entries
and :func:`pack` the payload. ``encode("mixed", arrays)`` takes int8 where it is smaller, and dense elsewhere.

Memory: decoding allocates the arrays, which the caller's limit covers, and while it reads a sparse one at most 26
bytes per listed position or 255 skipped ones, of which there are no more than the array has elements.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from chronos_common.codec import blocks
from chronos_common.codec.base import Buffer
from chronos_common.codec.entries import Head, Reader, head, head_bytes, prologue, read_body
from chronos_common.codec.envelope import padding, seal
from chronos_common.codec.indices import (
    IndexEncoding,
    Indices,
    decode_block16,
    decode_gaps,
    encode_block16,
    encode_gaps,
)
from chronos_common.errors import (
    MalformedPayloadError,
    NameMismatchError,
    NonFiniteError,
    PayloadTooLargeError,
    UnknownCodecError,
)
from chronos_common.tensors import Array, Arrays, TensorSpec, canonical, data_view, specs_of

ValueEncoding = Literal["float32", "int8"]

_DENSE, _INT8, _SPARSE = 1, 2, 3
_INT8_HEAD: Final = struct.Struct("<II")
_SPARSE_HEAD: Final = struct.Struct("<BBHIQQ")
_VALUE_CODES: Final[dict[ValueEncoding, int]] = {"float32": 1, "int8": 2}
_INDEX_CODES: Final[dict[IndexEncoding, int]] = {"block16": 1, "gaps": 2}
_FLOAT32: Final = np.dtype("<f4")


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One encoded array, ready for :func:`pack`.

    Attributes:
        spec: name, shape and dtype of the array.
        encoding: ``"dense"``, ``"int8"`` or ``"sparse"``.
        pieces: head and data; they may be views of the array that was encoded.
    """

    spec: TensorSpec
    encoding: str
    pieces: tuple[Buffer, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes that the entry takes in a payload."""
        return sum(len(piece) for piece in self.pieces)


def dense(name: str, array: Array) -> Entry:
    """The array as it is.

    Raises:
        PayloadError: an illegal name, shape or dtype, or a value that is not finite.
    """
    (spec,) = specs_of({name: array})
    if not np.isfinite(array).all():
        raise NonFiniteError(f"array {name!r} holds a value that is not finite", name=name)
    pieces = [*head(spec, _DENSE), data_view(array), bytes(padding(spec.size_bytes))]
    return Entry(spec=spec, encoding="dense", pieces=tuple(pieces))


def int8(name: str, array: Array) -> Entry:
    """Every value as an int8 code.

    Raises:
        PayloadError: as :func:`dense`; also a value beyond the range of float32.
    """
    (spec,) = specs_of({name: array})
    return int8_coded(spec, *blocks.quantise(_flat(array), name))


def int8_coded(spec: TensorSpec, codes: NDArray[np.int8], scales: NDArray[np.float32]) -> Entry:
    """Every value as a code that exists already: what :func:`blocks.quantise` gives for the flat array."""
    pieces = [*head(spec, _INT8), _INT8_HEAD.pack(blocks.BLOCK, 0), *blocks.write(codes, scales)]
    return Entry(spec=spec, encoding="int8", pieces=tuple(pieces))


def sparse(
    name: str, array: Array, indices: Indices, *, values: ValueEncoding, index_encoding: IndexEncoding
) -> Entry:
    """Some values of an array; the others decode to zero.

    Args:
        name: of the array.
        array: its values.
        indices: ascending, distinct positions in the flattened array (C order).
        values: what becomes of the listed values.
        index_encoding: how their positions are written.

    Raises:
        PayloadError: an illegal name, shape or dtype, or a listed value that is not finite in float32.
    """
    (spec,) = specs_of({name: array})
    listed = _flat(array)[indices]
    if values == "int8":
        return sparse_coded(spec, indices, *blocks.quantise(listed, name), index_encoding=index_encoding)
    return sparse_listed(spec, indices, _in_float32(listed), index_encoding=index_encoding)


def sparse_listed(
    spec: TensorSpec, indices: Indices, listed: NDArray[np.float32], *, index_encoding: IndexEncoding
) -> Entry:
    """Some values as float32, which are gathered already.

    Raises:
        NonFiniteError: one of them is not finite.
    """
    if not np.isfinite(listed).all():
        raise NonFiniteError(
            f"array {spec.name!r} holds a value that is not finite, or too large for float32", name=spec.name
        )
    data = [listed.astype(_FLOAT32, copy=False).tobytes(), bytes(padding(listed.nbytes))]
    return _sparse(spec, indices, "float32", index_encoding, data)


def zeros(spec: TensorSpec) -> Entry:
    """An array of zeros: a sparse one that lists none of its values."""
    nothing = np.zeros(0, np.int64)
    return sparse_listed(spec, nothing, np.zeros(0, np.float32), index_encoding="block16")


def sparse_coded(
    spec: TensorSpec,
    indices: Indices,
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
    *,
    index_encoding: IndexEncoding,
) -> Entry:
    """Some values as codes that exist already: what :func:`blocks.quantise` gives for the listed ones."""
    return _sparse(spec, indices, "int8", index_encoding, blocks.write(codes, scales))


def dense_entry_bytes(spec: TensorSpec) -> int:
    """Size of :func:`dense` of an array of that spec."""
    return head_bytes(spec) + spec.size_bytes + padding(spec.size_bytes)


def int8_entry_bytes(spec: TensorSpec) -> int:
    """Size of :func:`int8` of an array of that spec."""
    return head_bytes(spec) + _INT8_HEAD.size + blocks.data_bytes(spec.size)


def pack(entries: Iterable[Entry]) -> bytes:
    """The payload of these entries, whatever their order.

    Raises:
        NameMismatchError: two entries of one name.
    """
    ordered = sorted(entries, key=lambda entry: entry.spec.name)
    for before, after in itertools.pairwise(ordered):
        if before.spec.name == after.spec.name:
            raise NameMismatchError(f"array {after.spec.name!r} is packed twice", name=after.spec.name)
    return seal(MixedCodec.id, MixedCodec.revision, _body(ordered))


class MixedCodec:
    """See the module."""

    id: Final = 2
    revision: Final = 1
    name: Final = "mixed"

    def encode_body(self, arrays: Arrays) -> Sequence[Buffer]:
        """See :class:`~chronos_common.codec.base.Codec`; values must be finite, in float32 where int8 is taken."""
        entries = [
            int8(spec.name, arrays[spec.name])
            if int8_entry_bytes(spec) < dense_entry_bytes(spec)
            else dense(spec.name, arrays[spec.name])
            for spec in specs_of(arrays)
        ]
        return _body(entries)

    def decode_body(self, body: memoryview, *, revision: int, max_bytes: int | None) -> dict[str, Array]:
        """See :class:`~chronos_common.codec.base.Codec`; arrays are read-only, dense ones views of ``body``."""
        if revision != 1:
            raise UnknownCodecError(
                f"codec 'mixed' has no revision {revision} in this release; upgrade to read this payload",
                codec=self.name,
                revision=revision,
            )
        try:
            return read_body(body, _read_data, max_bytes=max_bytes)
        except MemoryError as error:
            raise PayloadTooLargeError(
                "the arrays of the payload do not fit into memory; give the size that you expect"
            ) from error


def _body(entries: Sequence[Entry]) -> list[Buffer]:
    return [prologue(len(entries)), *(piece for entry in entries for piece in entry.pieces)]


def _flat(array: Array) -> Array:
    return canonical(array).reshape(-1)


def _sparse(
    spec: TensorSpec,
    indices: Indices,
    values: ValueEncoding,
    index_encoding: IndexEncoding,
    data: Sequence[Buffer],
) -> Entry:
    at = encode_block16(indices, spec.size) if index_encoding == "block16" else encode_gaps(indices)
    block = blocks.BLOCK if values == "int8" else 0
    start = _SPARSE_HEAD.pack(
        _VALUE_CODES[values], _INDEX_CODES[index_encoding], 0, block, indices.size, len(at)
    )
    pieces = [*head(spec, _SPARSE), start, at + bytes(padding(len(at))), *data]
    return Entry(spec=spec, encoding="sparse", pieces=tuple(pieces))


def _in_float32(values: Array) -> NDArray[np.float32]:
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(np.float32)


def _read_data(reader: Reader, entry: Head) -> Array:
    if entry.tag == _DENSE:
        values = _read_dense(reader, entry)
    elif entry.tag == _INT8:
        values = _read_int8(reader, entry)
    elif entry.tag == _SPARSE:
        values = _read_sparse(reader, entry)
    else:
        raise MalformedPayloadError(f"array {entry.name!r} has the unknown encoding {entry.tag}")
    values.flags.writeable = False
    return values


def _read_dense(reader: Reader, entry: Head) -> Array:
    values: Array = reader.take_array(entry.size, entry.dtype)
    if not np.isfinite(values).all():
        raise NonFiniteError(f"array {entry.name!r} holds a value that is not finite", name=entry.name)
    return values


def _read_int8(reader: Reader, entry: Head) -> Array:
    block, reserved = _INT8_HEAD.unpack(reader.take(_INT8_HEAD.size))
    if reserved:
        raise MalformedPayloadError("a reserved field of the payload is not zero")
    return blocks.read(reader, entry.size, block, entry.dtype)


def _read_sparse(reader: Reader, entry: Head) -> Array:
    values, positions, reserved, block, count, index_bytes = _SPARSE_HEAD.unpack(
        reader.take(_SPARSE_HEAD.size)
    )
    if reserved or (values == _VALUE_CODES["float32"] and block):
        raise MalformedPayloadError("a reserved field of the payload is not zero")
    if count > entry.size:
        raise MalformedPayloadError(f"array {entry.name!r} lists {count} of its {entry.size} values")
    data = reader.take_padded(index_bytes)
    if positions == _INDEX_CODES["block16"]:
        indices = decode_block16(data, count, entry.size)
    elif positions == _INDEX_CODES["gaps"]:
        indices = decode_gaps(data, count, entry.size)
    else:
        raise MalformedPayloadError(f"array {entry.name!r} has the unknown index encoding {positions}")
    array: Array = np.zeros(entry.size, entry.dtype)
    if values == _VALUE_CODES["float32"]:
        listed = reader.take_array(count, _FLOAT32)
        if not np.isfinite(listed).all():
            raise NonFiniteError(f"array {entry.name!r} holds a value that is not finite", name=entry.name)
        array[indices] = listed
    elif values == _VALUE_CODES["int8"]:
        array[indices] = blocks.read(reader, count, block, entry.dtype)
    else:
        raise MalformedPayloadError(f"array {entry.name!r} has the unknown value encoding {values}")
    return array
