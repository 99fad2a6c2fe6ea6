"""Asking again: pauses that grow, with jitter, and which answers are worth waiting for."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from chronos_common.errors import ChronosError, ConfigurationError, PayloadError, ProblemError, RefusalError
from chronos_common.metrics import WorkerMetrics
from chronos_common.runtime import get_logger
from chronos_worker.lifecycle import Sleep

T = TypeVar("T")

DEFINITIVE: Final = (RefusalError, PayloadError, ConfigurationError, ProblemError)
"""Answers that a repetition would not change. Everything else may be lost messages or a coordinator in
trouble, of which nobody knows what it did: the very same request is sent again."""

_log = get_logger(__name__)


class Backoff:
    """Pauses that double from ``first_seconds`` to ``longest_seconds``, each shortened by up to a half.

    The jitter keeps workers that lost the same coordinator from coming back at the same moment.

    Args:
        rng: source of the jitter.
        sleep: waits for so many seconds.
        first_seconds: the first pause.
        longest_seconds: the longest.
    """

    def __init__(
        self, *, rng: random.Random, sleep: Sleep, first_seconds: float, longest_seconds: float
    ) -> None:
        self._rng = rng
        self._sleep = sleep
        self._first = first_seconds
        self._longest = longest_seconds
        self._next = first_seconds

    async def pause(self) -> None:
        """Waits, and makes the next pause longer."""
        seconds = self._next * self._rng.uniform(0.5, 1.0)
        self._next = min(2.0 * self._next, self._longest)
        await self._sleep(seconds)

    def reset(self) -> None:
        """Something worked: the next pause is the first one again."""
        self._next = self._first


class Retrier:
    """Repeats a call until the coordinator gives a definitive answer, however long it is away.

    Args:
        backoff: makes a backoff for one call.
        metrics: counts repetitions.
    """

    def __init__(self, backoff: Callable[[], Backoff], metrics: WorkerMetrics) -> None:
        self._backoff = backoff
        self._metrics = metrics

    async def answer(
        self,
        what: str,
        call: Callable[[], Awaitable[T]],
        *,
        passing: tuple[type[ChronosError], ...] = (),
    ) -> T:
        """The result of ``call``.

        Args:
            what: the call, for the log.
            call: makes it once.
            passing: errors that the caller wants to see although a repetition might help.

        Raises:
            ChronosError: a definitive one, or one of ``passing``.
        """
        backoff, attempts = self._backoff(), 0
        while True:
            try:
                result = await call()
            except ChronosError as error:
                if isinstance(error, (*DEFINITIVE, *passing)):
                    raise
                attempts += 1
                self._metrics.retried(error.reason)
                log = _log.warning if attempts == 1 else _log.debug
                log("call failed, asking again", call=what, reason=error.reason, problem=str(error))
                await backoff.pause()
            else:
                if attempts:
                    _log.info("call answered again", call=what, failures=attempts)
                return result
