"""Where the time goes, and how long a part of the work will take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from chronos_common.metrics import WorkerMetrics
from chronos_worker.lifecycle import Clock

Activity = Literal["compute", "wait", "communication"]


class TimeEstimate:
    """How long something will take, from how long it took: mean and mean deviation, exponentially weighted.

    Jacobson and Karels (SIGCOMM 1988), with their gains of 1/8 and 1/4; ``bound`` is mean + 4 deviations.
    """

    def __init__(self) -> None:
        self._mean = 0.0
        self._deviation = 0.0
        self.known = False
        """Whether anything has been observed."""

    def observe(self, seconds: float) -> None:
        """Takes in one duration."""
        if not self.known:
            self._mean, self._deviation, self.known = seconds, seconds / 2, True
            return
        error = seconds - self._mean
        self._mean += error / 8
        self._deviation += (abs(error) - self._deviation) / 4

    @property
    def mean(self) -> float:
        """What to expect, in seconds; 0 while nothing is known."""
        return self._mean

    @property
    def bound(self) -> float:
        """What it will hardly exceed, in seconds; 0 while nothing is known."""
        return self._mean + 4 * self._deviation


class TimeAccount:
    """Seconds by activity since the last commit that counted.

    Args:
        clock: monotonic seconds.
        metrics: told every entry.
    """

    def __init__(self, clock: Clock, metrics: WorkerMetrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._open: dict[str, float] = {}

    def spent(self, activity: Activity, seconds: float) -> None:
        """Enters a duration; less than none counts as none."""
        seconds = max(0.0, seconds)
        self._open[activity] = self._open.get(activity, 0.0) + seconds
        self._metrics.spent(activity, seconds)

    @contextmanager
    def timed(self, activity: Activity) -> Iterator[None]:
        """Enters the duration of a block, however it ends."""
        started = self._clock()
        try:
            yield
        finally:
            self.spent(activity, self._clock() - started)

    def take(self) -> dict[str, float]:
        """What has been entered since the last call, to go with a commit."""
        taken, self._open = self._open, {}
        return taken

    def give_back(self, taken: Mapping[str, float]) -> None:
        """The commit did not count: its seconds go with the next one."""
        for activity, seconds in taken.items():
            self._open[activity] = self._open.get(activity, 0.0) + seconds
