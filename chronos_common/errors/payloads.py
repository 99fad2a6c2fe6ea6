"""Errors of payloads."""

from __future__ import annotations

from chronos_common.errors.base import ChronosError


class PayloadError(ChronosError):
    """Bytes, or the arrays in them, that cannot be accepted."""

    reason = "BAD_PAYLOAD"


class MalformedPayloadError(PayloadError):
    """Truncated, corrupted or otherwise undecodable bytes."""

    reason = "MALFORMED_PAYLOAD"


class UnknownCodecError(PayloadError):
    """A codec id or revision that this release cannot decode."""

    reason = "UNKNOWN_CODEC"


class NameMismatchError(PayloadError):
    """Arrays missing, unexpected, or named twice."""

    reason = "NAME_MISMATCH"


class ShapeMismatchError(PayloadError):
    """An array of another shape than the outer parameter it updates."""

    reason = "SHAPE_MISMATCH"


class DtypeMismatchError(PayloadError):
    """An array of another dtype than the outer parameter it updates."""

    reason = "DTYPE_MISMATCH"


class NonFiniteError(PayloadError):
    """NaN or infinity where a finite number is needed."""

    reason = "NON_FINITE"


class PayloadTooLargeError(PayloadError):
    """More bytes than the receiver admits."""

    reason = "PAYLOAD_TOO_LARGE"


class DigestMismatchError(PayloadError):
    """Arrays whose digest differs from the one announced with them."""

    reason = "DIGEST_MISMATCH"
