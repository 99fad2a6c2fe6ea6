"""The lossless codec: dense data, little-endian, readable in place.

Body, revision 1: as ``entries.py`` says, with tags of zero, and as data the values: IEEE 754, C order.

There is exactly one encoding of given arrays: order, padding and reserved fields are checked, so that equal
arrays have equal payloads and the content address of a payload identifies its arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from chronos_common.codec.base import Buffer
from chronos_common.codec.entries import PROLOGUE_BYTES, Head, Reader, head, head_bytes, prologue, read_body
from chronos_common.codec.envelope import HEADER_BYTES, padding
from chronos_common.errors import MalformedPayloadError, UnknownCodecError
from chronos_common.tensors import Array, Arrays, TensorSpec, data_view, specs_of


class IdentityCodec:
    """Dense arrays as they are."""

    id: Final = 1
    revision: Final = 1
    name: Final = "identity"

    def encode_body(self, arrays: Arrays) -> Sequence[Buffer]:
        """See :class:`~chronos_common.codec.base.Codec`; the pieces of data are views of the arrays."""
        pieces: list[Buffer] = [prologue(len(arrays))]
        for spec in specs_of(arrays):
            pieces += head(spec, 0)
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
        return read_body(body, _read_values, max_bytes=max_bytes)


def dense_bytes(specs: Iterable[TensorSpec]) -> int:
    """Size in bytes of the identity payload of arrays of these specs, header included."""
    total = HEADER_BYTES + PROLOGUE_BYTES
    for spec in specs:
        total += head_bytes(spec) + spec.size_bytes + padding(spec.size_bytes)
    return total


def _read_values(reader: Reader, entry: Head) -> Array:
    if entry.tag:
        raise MalformedPayloadError("a reserved field of the payload is not zero")
    values: Array = reader.take_array(entry.size, entry.dtype)
    return values
