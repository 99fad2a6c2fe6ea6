"""The clock of a level: when what it gathered is due.

One tick is one published version. A level of period C gathers over the half-open interval (i - C, i] and is due at
i = C, 2C, 3C, ..., never at 0. An adaptive level's next interval begins where the last one ended, with the period
that was chosen there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from chronos_common.errors import CorruptStateError


@dataclass(frozen=True, kw_only=True)
class LevelClock:
    """Where a level stands.

    Attributes:
        period: C, in versions.
        ticks: versions since the interval began.
        gathered: how many of them brought a gradient.
        flushes: intervals that ended with a step of the level's optimiser.

    Raises:
        CorruptStateError: numbers that no clock shows between two versions.
    """

    period: int
    ticks: int = 0
    gathered: int = 0
    flushes: int = 0

    def __post_init__(self) -> None:
        if not (self.period >= 1 and 0 <= self.gathered <= self.ticks <= self.period and self.flushes >= 0):
            raise CorruptStateError(f"a level's clock is impossible: {self}")

    @property
    def due(self) -> bool:
        """Whether the interval has ended."""
        return self.ticks == self.period

    def tick(self, *, gradient: bool) -> LevelClock:
        """One version later, which brought a gradient or did not."""
        return replace(self, ticks=self.ticks + 1, gathered=self.gathered + gradient)

    def next_interval(self, period: int) -> LevelClock:
        """At the beginning of the next interval; one without a gradient counts as no flush."""
        return LevelClock(period=period, flushes=self.flushes + (self.gathered > 0))


def adapted(period: int, change: float, target: float, *, lowest: int, highest: int) -> int:
    """The next period of an adaptive level.

    Args:
        period: of the interval that has ended.
        change: that its flush made, relative to the parameters.
        target: what a flush should change.
        lowest: of the periods that may be chosen.
        highest: likewise.
    """
    if change > 2.0 * target:
        return max(lowest, period // 2, 1)
    if change < 0.5 * target:
        return min(highest, 2 * period)
    return period
