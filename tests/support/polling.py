"""The one place where tests poll: bounded, and a failure says what was awaited and what was there instead.

Poll only for what another process or a service does; inside a test's own process, await the event itself or
advance the injected clock.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

INTERVAL_SECONDS = 0.02


def poll(probe: Callable[[], T], what: str, *, timeout_seconds: float = 60.0) -> T:
    """Call ``probe`` until it returns something true, and return that.

    An exception of ``probe`` is a failure of the test, not a reason to go on: let it return ``None`` for
    "not yet".

    Raises:
        TimeoutError: nothing true within ``timeout_seconds``; the message holds ``what`` and the last value.
    """
    deadline = time.monotonic() + timeout_seconds
    while not (value := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_seconds} s; last seen: {value!r}")
        time.sleep(INTERVAL_SECONDS)
    return value


@overload
async def poll_async(probe: Callable[[], Awaitable[T]], what: str, *, timeout_seconds: float = ...) -> T: ...


@overload
async def poll_async(probe: Callable[[], T], what: str, *, timeout_seconds: float = ...) -> T: ...


async def poll_async(probe: Callable[[], Any], what: str, *, timeout_seconds: float = 60.0) -> Any:
    """Like ``poll``, for a plain or an async ``probe``, leaving the event loop free in between."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        result = probe()
        value = await result if inspect.isawaitable(result) else result
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_seconds} s; last seen: {value!r}")
        await asyncio.sleep(INTERVAL_SECONDS)
