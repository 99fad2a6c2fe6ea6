"""Blows to a cluster in mid-run: processes killed and stopped, by a plan that a seed decides."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from chronos_common.cli.cluster import COORDINATOR
from chronos_common.errors import ConfigurationError

KILL: Final = "kill"
STOP: Final = "stop"

STOP_SECONDS: Final = 2.0
"""How long a stopped process stays stopped: longer than the shortest lease, so that the others go on without it."""

WINDOWS: Final = ((0.15, 0.3), (0.4, 0.55), (0.65, 0.8))
"""Shares of the run in which the blows fall, one in each."""


@dataclass(frozen=True, kw_only=True)
class Blow:
    """What happens to one process.

    Attributes:
        version: falls when this version, or a later one, has been published.
        action: ``"kill"`` (SIGKILL, then started again) or ``"stop"`` (SIGSTOP, then SIGCONT after a while).
        target: name of the process, as the cluster knows it.
    """

    version: int
    action: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A blow that fell: the newest version then, seconds since the run began, and what it was."""

    version: int
    seconds: float
    what: str


class Victim(Protocol):
    """What a cluster lets happen to its processes."""

    def kill(self, name: str) -> None:
        """SIGKILL, as after a power cut."""

    def restart(self, name: str) -> None:
        """Starts a killed process anew, where it was; returns when it is ready."""

    def pause(self, name: str) -> None:
        """SIGSTOP: it hangs, and keeps its connections."""

    def resume(self, name: str) -> None:
        """SIGCONT."""

    def check(self) -> None:
        """Raises when a process has ended that should not have."""


def plan(seed: int, *, versions: int, workers: int) -> tuple[Blow, ...]:
    """One killed worker, one killed coordinator and one stopped worker, in an order and at versions by ``seed``.

    Raises:
        ConfigurationError: fewer than two workers, or too few versions to strike in the middle of.
    """
    if workers < 2 or versions < 2 * len(WINDOWS):
        raise ConfigurationError(
            f"chaos needs 2 workers and {2 * len(WINDOWS)} versions at least; there are {workers} workers and "
            f"{versions} versions"
        )
    chance = random.Random(seed)
    killed, stopped = chance.sample([f"worker {number}" for number in range(1, workers + 1)], 2)
    blows = [(KILL, COORDINATOR), (KILL, killed), (STOP, stopped)]
    chance.shuffle(blows)
    return tuple(
        Blow(version=max(1, round(versions * chance.uniform(*window))), action=action, target=target)
        for window, (action, target) in zip(WINDOWS, blows, strict=True)
    )


class Chaos:
    """Carries a plan out while a run goes on; use it as a context manager around the run.

    Args:
        victim: the cluster.
        blows: the plan.
        stop_seconds: how long a stopped process stays stopped.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        victim: Victim,
        blows: Sequence[Blow],
        *,
        stop_seconds: float = STOP_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._victim = victim
        self._due = sorted(blows, key=lambda blow: blow.version)
        self._stop_seconds = stop_seconds
        self._clock = clock
        self._began = clock()
        self._over = threading.Event()
        self._struck: list[Future[None]] = []
        self._moments: list[Moment] = []
        self._threads = ThreadPoolExecutor(max_workers=max(1, len(blows)), thread_name_prefix="chaos")

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The blows that have fallen, in order."""
        return tuple(self._moments)

    def published(self, version: int) -> None:
        """A version is out: what is due falls, in threads of its own."""
        while self._due and self._due[0].version <= version:
            blow = self._due.pop(0)
            verb = "killed" if blow.action == KILL else "stopped"
            moment = Moment(
                version=version, seconds=self._clock() - self._began, what=f"{blow.target} {verb}"
            )
            self._moments.append(moment)
            self._struck.append(self._threads.submit(self._strike, blow))

    def check(self) -> None:
        """Raises what went wrong with a blow, or with the cluster when nothing is being done to it."""
        for blow in self._struck:
            if blow.done():
                blow.result()
        if all(blow.done() for blow in self._struck):
            self._victim.check()

    def _strike(self, blow: Blow) -> None:
        if blow.action == KILL:
            self._victim.kill(blow.target)
            self._victim.restart(blow.target)
            return
        self._victim.pause(blow.target)
        try:
            self._over.wait(self._stop_seconds)
        finally:
            self._victim.resume(blow.target)

    def __enter__(self) -> Self:
        self._began = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._threads.shutdown()
