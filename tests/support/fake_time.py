"""A clock and a sleep that take no time: pauses move the clock on, long sleeps wait until the test lets them pass."""

from __future__ import annotations

import asyncio

LONG_SECONDS = 100.0
"""Sleeps of at least this length (heartbeats, the drain) wait for the test."""


class FakeTime:
    """A clock and a sleep for a worker."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._long: list[tuple[float, asyncio.Event]] = []
        self._begun = asyncio.Event()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if seconds >= LONG_SECONDS:
            passed = asyncio.Event()
            self._long.append((seconds, passed))
            begun, self._begun = self._begun, asyncio.Event()
            begun.set()
            await passed.wait()
        else:
            self.now += seconds
            await asyncio.sleep(0)

    async def until_asleep(self, seconds: float) -> None:
        """Waits until somebody has begun a long sleep of that length."""
        async with asyncio.timeout(30):
            while all(length != seconds for length, _ in self._long):
                await self._begun.wait()

    def pass_long(self, seconds: float) -> None:
        """Ends the long sleeps of that length."""
        self.now += seconds
        for length, passed in list(self._long):
            if length == seconds:
                passed.set()
                self._long.remove((length, passed))
