"""One thread for all tensor work, so that heartbeats go on while it computes."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class ComputeThread:
    """Runs jobs one after the other in one thread of its own.

    A daemon thread, unlike an executor's: a job that ignores its deadline must not keep the process from
    ending. Always the same thread, because numerical libraries keep pools and settings for each.

    Args:
        name: of the thread.
        initialise: called in it first.
    """

    def __init__(self, name: str, initialise: Callable[[], object] = lambda: None) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._unfinished = 0
        self._thread = threading.Thread(target=self._work, args=(initialise,), name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a job is running or waits, perhaps an abandoned one."""
        return self._unfinished > 0

    async def run(self, job: Callable[[], T]) -> T:
        """The result of ``job``; whoever cancels this call abandons the job, which then ends unseen."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._count(1)
        context = contextvars.copy_context()  # whose work it is, for its log lines
        self._jobs.put((loop, future, lambda: context.run(job)))
        return await future

    def close(self, timeout_seconds: float = 1.0) -> None:
        """Lets the thread end after the jobs it has."""
        self._jobs.put(None)
        self._thread.join(timeout_seconds)

    def _work(self, initialise: Callable[[], object]) -> None:
        initialise()
        while (job := self._jobs.get()) is not None:
            loop, future, run = job
            answer = _outcome(run)
            self._count(-1)
            # The loop of an abandoned job may be gone.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_deliver, future, *answer)

    def _count(self, change: int) -> None:
        with self._lock:
            self._unfinished += change


def _outcome(run: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    try:
        return run(), None
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever awaits the job
        return None, error


def _deliver(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
