"""Split-conformal intervals: how wide a factor around a prediction holds the truth as often as promised.

Out-of-fold errors ``log(actual / predicted)`` of groups that no fold shares are sorted once; a level picks a
quantile of their size, with the finite-sample correction ``⌈(n + 1) level⌉ / n`` (Vovk et al., 2005; Lei et al., 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVELS = tuple(np.round(np.arange(0.02, 1.0, 0.02), 2))
"""Those kept in an artefact: odd ones between are interpolated."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An answer with its spread, in the unit of the answer."""

    p10: float
    p50: float
    p90: float
    low: float
    high: float
    level: float = 0.9

    def scaled(self, factor: float) -> Interval:
        """Every number times a factor."""
        parts = (self.p10, self.p50, self.p90, self.low, self.high)
        p10, p50, p90, low, high = (part * factor for part in parts)
        return Interval(p10=p10, p50=p50, p90=p90, low=low, high=high, level=self.level)


def quantiles(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half-widths in log for each of :data:`LEVELS`, from out-of-fold errors in log."""
    size = np.sort(np.abs(errors))
    count = len(size)
    ranks = np.minimum(np.ceil((count + 1) * np.asarray(LEVELS)).astype(int), count) - 1
    found: NDArray[np.float64] = size[np.maximum(ranks, 0)]
    return found


def half_width(found: NDArray[np.float64], level: float) -> float:
    """The half-width in log at a level."""
    return float(np.interp(level, LEVELS, found))


def interval(
    centre: float, found: NDArray[np.float64], *, scale: float = 1.0, level: float = 0.9
) -> Interval:
    """Around a centre; ``scale`` widens or narrows what the errors say."""
    wide = math.exp(half_width(found, level) * scale)
    eighty = math.exp(half_width(found, 0.8) * scale)
    return Interval(
        p10=centre / eighty, p50=centre, p90=centre * eighty, low=centre / wide, high=centre * wide, level=level
    )  # fmt: skip
