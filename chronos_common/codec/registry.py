"""The table of codecs, and payloads through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from chronos_common.codec.base import Buffer, Codec
from chronos_common.codec.envelope import seal, unseal
from chronos_common.codec.identity import IdentityCodec
from chronos_common.codec.mixed import MixedCodec
from chronos_common.errors import PayloadTooLargeError, UnknownCodecError
from chronos_common.tensors import Array, Arrays, TensorSpec, require_like

CODECS: Final[Sequence[Codec]] = (IdentityCodec(), MixedCodec())
"""Every codec of this release. Ids and names are never reused, not even those of a codec that was removed."""


def index_by_id(codecs: Sequence[Codec]) -> Mapping[int, Codec]:
    """The codecs by id; a repeated id or name, or an id outside 1..255, is a programming error."""
    by_id = {codec.id: codec for codec in codecs}
    if len(by_id) != len(codecs) or len({codec.name for codec in codecs}) != len(codecs):
        raise AssertionError(
            f"two codecs share an id or a name: {[(codec.id, codec.name) for codec in codecs]}"
        )
    if not all(1 <= number <= 255 for number in by_id):
        raise AssertionError(f"codec ids must lie in 1..255: {sorted(by_id)}")
    return MappingProxyType(by_id)


_BY_ID: Final = index_by_id(CODECS)
_BY_NAME: Final = MappingProxyType({codec.name: codec for codec in CODECS})


def get_codec(name: str) -> Codec:
    """The codec of that name.

    Raises:
        UnknownCodecError: no such codec; the message lists those that exist.
    """
    if name not in _BY_NAME:
        raise UnknownCodecError(f"unknown codec {name!r}; choose one of {sorted(_BY_NAME)}", codec=name)
    return _BY_NAME[name]


def encode(codec_name: str, arrays: Arrays) -> bytes:
    """The payload of ``arrays`` by the named codec; equal arrays give equal bytes.

    Raises:
        UnknownCodecError: no such codec.
        PayloadError: an illegal name, dtype or shape.
    """
    codec = get_codec(codec_name)
    return seal(codec.id, codec.revision, codec.encode_body(arrays))


def decode(
    payload: Buffer, *, max_bytes: int | None = None, specs: Iterable[TensorSpec] | None = None
) -> dict[str, Array]:
    """The arrays of a payload, read-only, as views of it where the codec allows.

    A sparse payload of a few bytes may announce arrays of any size: give ``specs`` or ``max_bytes`` for whatever
    comes from a network. No array is allocated before its size, added to those before it, was found to be
    within them.

    Args:
        payload: untrusted bytes.
        max_bytes: the most bytes that the payload, and that the decoded arrays, may take.
        specs: the arrays that must come out; no others do.

    Raises:
        PayloadTooLargeError: more than ``max_bytes``, or than the arrays of ``specs`` and the payload take.
        UnknownCodecError: written by a codec or a revision that this release lacks.
        PayloadError: anything else that is wrong with it; no other exception leaves this function.
    """
    size = memoryview(payload).nbytes
    if max_bytes is not None and size > max_bytes:
        raise PayloadTooLargeError(
            f"the payload has {size} bytes, more than the {max_bytes} admitted", size=size, limit=max_bytes
        )
    frame = unseal(payload)
    if frame.codec_id not in _BY_ID:
        raise UnknownCodecError(
            f"the payload was written by codec id {frame.codec_id}, unknown to this release: upgrade",
            codec=frame.codec_id,
        )
    wanted = None if specs is None else tuple(specs)
    # What takes no more than the payload itself may be read, so that a wrong shape is called a wrong shape.
    expected = None if wanted is None else max(sum(spec.size_bytes for spec in wanted), size)
    limits = [max_bytes, expected]
    limit = min((bound for bound in limits if bound is not None), default=None)
    arrays = _BY_ID[frame.codec_id].decode_body(frame.body, revision=frame.revision, max_bytes=limit)
    if wanted is not None:
        require_like(arrays, wanted)
    return arrays
