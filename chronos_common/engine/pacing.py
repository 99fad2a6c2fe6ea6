"""What each worker of a run is predicted to take, and how much of the inner loop it is therefore given.

From checkout to commit a worker takes ``alpha + beta · share`` seconds (``fleet.SpeedTable``, a share of 1 is the
whole inner loop), times a factor near 1 whose spread is followed by ``prediction.Online``. Volatile, as leases are:
it steers when things happen, never what a version contains. What it assigns comes back as a commit's ``work``,
which is journalled; so replay needs no predictions.

Before a worker's first commit, its probed machine is compared with those of the others.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from chronos_common.fleet import SpeedTable
from chronos_common.prediction.calibration import Online
from chronos_common.prediction.intervals import Interval
from chronos_common.versions import Expectation

LEAST_SHARE: Final = 1 / 16
"""Of the inner loop, for the slowest: below, a worker would mostly talk."""

PROBED_SPREAD: Final = 0.5
"""Standard deviation of log(actual / predicted) where only machines were compared."""

FIRST_SPREAD: Final = 0.15
LEARNING: Final = 8
"""Loops of a worker before it can be a straggler."""

IN_A_ROW: Final = 2
"""Loops above a worker's band that make it a straggler: of well-predicted ones, one in 400 is the second."""

NORMAL_95: Final = 1.6449


@dataclass(frozen=True, kw_only=True)
class PaceView:
    """A worker's pace as a run sees it.

    Attributes:
        expected: of its next loop, at the share that it would be given; ``None`` while nothing is known.
        actual_seconds: of its last one.
        predicted_seconds: of its last one, before it began: the median; 0 where nothing was known.
        straggling: whether its last loops were above its own band.
        share: of the inner loop, that it would be given.
    """

    expected: Expectation | None
    actual_seconds: float
    predicted_seconds: float
    straggling: bool
    share: float


@dataclass(kw_only=True)
class _Worker:
    factor: Online
    alpha: float = 0.0
    beta: float = 0.0
    loops: int = 0
    above: int = 0
    actual: float = 0.0
    predicted: float = 0.0


class Pacer:
    """Predicts the workers of one run.

    Args:
        proportional: whether shares follow speed; otherwise everybody gets the whole inner loop.
    """

    def __init__(self, *, proportional: bool) -> None:
        self._proportional = proportional
        self._speeds = SpeedTable()
        self._workers: dict[str, _Worker] = {}
        self._typical: dict[str, float] = {}

    def introduce(self, worker_id: str, typical_seconds: float) -> None:
        """A worker's machine was probed; see ``prediction.machine.Machine.typical_seconds``."""
        if typical_seconds > 0.0:
            self._typical[worker_id] = typical_seconds

    def observe(self, worker_id: str, work: float, seconds: float) -> None:
        """A worker took so many seconds from its checkout to its commit, for a share ``work`` of the inner loop."""
        if not (math.isfinite(seconds) and seconds > 0.0):
            return
        expected = self.expect(worker_id, work)
        known = self._workers.setdefault(worker_id, _Worker(factor=_begin()))
        known.actual, known.predicted = seconds, expected.p50 if expected is not None else 0.0
        if known.loops:
            known.above = known.above + 1 if expected is not None and seconds > expected.p95 else 0
            known.factor = known.factor.observe(seconds / (known.alpha + known.beta * work))
        known.loops += 1
        self._speeds.observe(worker_id, work, seconds)
        line = self._speeds.speeds([worker_id])
        known.alpha, known.beta = float(line.alpha[0]), float(line.beta[0])

    def expect(self, worker_id: str, share: float = 1.0) -> Expectation | None:
        """What a share of the inner loop will take a worker, or ``None`` while nothing tells."""
        known = self._workers.get(worker_id)
        if known is not None:
            factor = known.factor.interval()
            seconds = known.alpha + known.beta * share
            return Expectation(p50=seconds * factor.p50, p95=seconds * factor.high)
        compared = self._compared(worker_id, share)
        if compared is None:
            return None
        return Expectation(p50=compared, p95=compared * math.exp(NORMAL_95 * PROBED_SPREAD))

    def share(self, worker_id: str, live: Iterable[str]) -> float:
        """How much of the inner loop a worker is given, so that it takes as long as the fastest with all of it."""
        if not self._proportional:
            return 1.0
        whole = [expected.p50 for each in live if (expected := self.expect(each)) is not None]
        own, nothing = self.expect(worker_id), self.expect(worker_id, 0.0)
        if own is None or nothing is None or not whole or own.p50 <= nothing.p50:
            return 1.0
        share = (min(whole) - nothing.p50) / (own.p50 - nothing.p50)
        return min(1.0, max(LEAST_SHARE, share))

    def typical_seconds(self, live: Iterable[str]) -> float:
        """What the median of these workers takes for a whole inner loop; 0 while nothing is known."""
        known = [expected.p50 for each in live if (expected := self.expect(each)) is not None]
        return statistics.median(known) if known else 0.0

    def leave(self, worker_id: str) -> None:
        """A worker is gone: a later one of its name may run elsewhere."""
        self._speeds.forget(worker_id)
        self._workers.pop(worker_id, None)
        self._typical.pop(worker_id, None)

    def straggling(self, worker_id: str) -> bool:
        """Whether a worker's last loops were above its own band."""
        known = self._workers.get(worker_id)
        return known is not None and known.loops > LEARNING and known.above >= IN_A_ROW

    def view(self, worker_id: str, live: Iterable[str]) -> PaceView:
        """A worker's pace, among those that are alive."""
        share, known = self.share(worker_id, live), self._workers.get(worker_id)
        return PaceView(
            expected=self.expect(worker_id, share),
            actual_seconds=known.actual if known is not None else 0.0,
            predicted_seconds=known.predicted if known is not None else 0.0,
            straggling=self.straggling(worker_id),
            share=share,
        )

    def _compared(self, worker_id: str, share: float) -> float | None:
        own = self._typical.get(worker_id)
        if own is None:
            return None
        others = []
        for other in sorted(self._workers):
            if other in self._typical:
                line = self._workers[other]
                others.append((line.alpha + line.beta * share) * own / self._typical[other])
        return statistics.median(others) if others else None


def _begin() -> Online:
    wide = math.exp(1.2816 * FIRST_SPREAD)
    exactly = Interval(p10=1.0 / wide, p50=1.0, p90=wide, low=1.0 / wide, high=wide)
    return Online.begin(exactly, spread=FIRST_SPREAD)
