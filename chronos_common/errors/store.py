"""Errors of the store."""

from __future__ import annotations

from chronos_common.errors.base import ChronosError


class StoreError(ChronosError):
    """The durable store failed."""

    reason = "STORE_FAILED"


class StoreWriteError(StoreError):
    """A write did not become durable, or nobody can tell; the writer must reload before it goes on."""

    reason = "STORE_WRITE_FAILED"


class FencedError(StoreError):
    """Another coordinator has taken over; this one must not write."""

    reason = "FENCED"


class LeadershipHeldError(StoreError):
    """Another live coordinator owns the store."""

    reason = "LEADERSHIP_HELD"


class CorruptStateError(StoreError):
    """Stored state contradicts itself: a digest, a sequence number or a blob does not match."""

    reason = "CORRUPT_STATE"
