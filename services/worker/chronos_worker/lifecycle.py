"""When the worker stops, and how long what it is doing may still take."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from chronos_common.errors import ChronosError

T = TypeVar("T")
Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class Interrupted(Exception):  # noqa: N818 - not a failure: somebody asked for it
    """The worker is to stop, and what was awaited is abandoned."""


class Lifecycle:
    """Stopping in two steps: no new work from :meth:`stop` on, no work at all once the drain time is over.

    Args:
        drain_seconds: time between the two.
        clock: monotonic seconds.
        sleep: waits for so many seconds.
    """

    def __init__(self, *, drain_seconds: float, clock: Clock, sleep: Sleep) -> None:
        self._drain_seconds = drain_seconds
        self._clock = clock
        self._sleep = sleep
        self._stopping = asyncio.Event()
        self._drained = asyncio.Event()
        self._timer: asyncio.Task[None] | None = None
        self.drain_deadline = math.inf
        """When the work in hand has to be over, in seconds of the clock; may be read from any thread."""
        self.error: ChronosError | None = None
        """Why the worker failed; ``None`` while it has not."""

    @property
    def stopping(self) -> bool:
        """Whether no new work is to begin."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Asks for the end: the work in hand may finish within the drain time."""
        if not self.stopping:
            self.drain_deadline = self._clock() + self._drain_seconds
            self._stopping.set()
            self._timer = asyncio.create_task(self._drain())

    def fail(self, error: ChronosError) -> None:
        """Ends everything at once: nothing that this process does counts any more. The first error is kept."""
        if self.error is None:
            self.error = error
        self.drain_deadline = -math.inf
        self._stopping.set()
        self._drained.set()

    async def unless_stopping(self, work: Awaitable[T]) -> T:
        """The result of what nobody needs when the worker stops: waiting, and beginning something.

        Raises:
            Interrupted: a stop came first.
        """
        return await self._race(work, self._stopping)

    async def until_drained(self, work: Awaitable[T]) -> T:
        """The result of what is worth finishing.

        Raises:
            Interrupted: the drain time is over.
        """
        return await self._race(work, self._drained)

    async def close(self) -> None:
        """Ends the drain timer."""
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)

    async def _drain(self) -> None:
        await self._sleep(self._drain_seconds)
        self._drained.set()

    async def _race(self, work: Awaitable[T], event: asyncio.Event) -> T:
        task = asyncio.ensure_future(work)
        alarm = asyncio.create_task(event.wait())
        try:
            if not event.is_set():  # what has not begun does not begin
                await asyncio.wait({task, alarm}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Interrupted
        finally:
            alarm.cancel()
            task.cancel()
            await asyncio.gather(task, alarm, return_exceptions=True)
