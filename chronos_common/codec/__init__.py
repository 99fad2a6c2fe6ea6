"""Payloads: the bytes in which named arrays travel, are journalled and are stored.

``envelope.py`` frames every payload alike (magic, codec id, revision, checksum, length); ``base.py`` holds
the interface of a codec; each codec is one file; ``registry.py`` holds the table and the two functions that
the rest of Chronos calls, :func:`encode` and :func:`decode`. A payload says by which codec and revision it
was written, and every revision ever released stays decodable.

``identity`` is lossless. ``mixed`` gives every array an encoding of its own: dense, int8 (``blocks.py``), or
sparse with float32 or int8 values and positions as in ``indices.py``. A codec decides nothing: which values are
left out, and what becomes of them, is the business of ``chronos_common.compression``.

To add a codec: one file with a class that satisfies :class:`Codec`, a row in ``registry.CODECS`` with a
fresh id, and a golden payload that freezes its first revision; the contract test runs over the table.
"""

from chronos_common.codec.base import Codec
from chronos_common.codec.envelope import HEADER_BYTES
from chronos_common.codec.identity import dense_bytes
from chronos_common.codec.registry import CODECS, decode, encode, get_codec

__all__ = ["CODECS", "HEADER_BYTES", "Codec", "decode", "dense_bytes", "encode", "get_codec"]
