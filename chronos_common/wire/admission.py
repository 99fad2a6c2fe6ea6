"""What a server takes on at the same time: calls, payload bytes, and nothing new while it drains."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from chronos_common.errors import DrainingError, OverloadedError
from chronos_common.wire.chunks import require_admissible
from chronos_common.wire.limits import WireLimits


class Admission:
    """Counts calls and payload bytes in flight, and refuses those above the limits.

    It belongs to one event loop. ``draining`` is set once and never cleared.
    """

    def __init__(self, limits: WireLimits) -> None:
        self.limits = limits
        self.draining = asyncio.Event()
        self._calls = 0
        self._bytes = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def calls(self) -> int:
        """Calls in flight."""
        return self._calls

    @property
    def bytes(self) -> int:
        """Payload bytes in flight."""
        return self._bytes

    @contextmanager
    def call(self) -> Iterator[None]:
        """Holds a place for one call.

        Raises:
            DrainingError: the server is stopping.
            OverloadedError: too many calls.
        """
        if self.draining.is_set():
            raise draining_error()
        if self._calls >= self.limits.max_calls:
            raise OverloadedError(
                f"{self._calls} calls are in flight, the most that this server works on; try again",
                max_calls=self.limits.max_calls,
            )
        self._calls += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    @contextmanager
    def payload(self, payload_bytes: int) -> Iterator[None]:
        """Holds room for a payload that a client has declared.

        Raises:
            PayloadTooLargeError: it is above ``max_payload_bytes``.
            OverloadedError: no room beside the payloads that are coming in already.
        """
        require_admissible(payload_bytes, self.limits.max_payload_bytes)
        if self._bytes + payload_bytes > self.limits.max_in_flight_bytes:
            raise OverloadedError(
                f"{self._bytes} payload bytes are in flight, no room for {payload_bytes} more; try again",
                max_in_flight_bytes=self.limits.max_in_flight_bytes,
            )
        self._bytes += payload_bytes
        try:
            yield
        finally:
            self._bytes -= payload_bytes

    async def idle(self) -> None:
        """Returns when no call is in flight."""
        await self._idle.wait()


def draining_error() -> DrainingError:
    """The answer to every call that comes, or still waits, while the server stops."""
    return DrainingError("the coordinator is shutting down; the same call succeeds after its restart")
