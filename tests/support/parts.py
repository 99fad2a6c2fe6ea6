"""Checkouts' payloads, for tests that make one up."""

from __future__ import annotations

from chronos_common.engine import VersionPart


def whole(payload: bytes | None, version: int = 0) -> tuple[VersionPart, ...]:
    """A snapshot; ``None`` is nothing."""
    return () if payload is None else (VersionPart(version=version, is_delta=False, payload=payload),)
