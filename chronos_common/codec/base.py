"""The interface of a codec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chronos_common.tensors import Array, Arrays

Buffer = bytes | memoryview


class Codec(Protocol):
    """Turns named arrays into the body of a payload and back.

    A codec is stateless: what it loses (rounding, values left out) is somebody else's residual. ``id`` (1 to
    255) and ``name`` are unique for ever; ``revision`` is the one that is written, and every older one stays
    readable.
    """

    @property
    def id(self) -> int:
        """The number in the payload's header."""
        ...

    @property
    def revision(self) -> int:
        """The revision that :meth:`encode_body` writes."""
        ...

    @property
    def name(self) -> str:
        """The name that configurations use."""
        ...

    def encode_body(self, arrays: Arrays) -> Sequence[Buffer]:
        """The body in consecutive pieces, so that the caller joins header and data with one copy.

        Equal arrays give equal bytes whatever the order of the mapping.

        Raises:
            PayloadError: an illegal name, dtype or shape.
        """
        ...

    def decode_body(self, body: memoryview, *, revision: int, max_bytes: int | None) -> dict[str, Array]:
        """The arrays of a body whose checksum is right but whose content is not trusted.

        Args:
            body: read-only bytes, aligned to 8.
            revision: the revision that wrote it.
            max_bytes: the most bytes that the decoded arrays may take together; nothing larger is allocated.

        Raises:
            PayloadError: and no other error, whatever the bytes are.
        """
        ...
