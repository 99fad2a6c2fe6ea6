"""Workers' speeds as ticks: whole numbers, so that times are compared and added exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.data.plan import Indices, Reals, Speeds
from chronos_common.errors import ConfigurationError

EXACT_BITS: Final = 42
"""A batch costs at most this many bits of units."""

LATEST: Final = 2.0 ** (EXACT_BITS + 1)
"""Ticks of whoever is later than the fastest would be with all of the batch. How much later makes no difference, and
with a worker's number beside them and some to add, ticks fit into 63 bits."""

MOST_WORKERS: Final = 1 << 14


@dataclass(frozen=True, kw_only=True, eq=False)
class Pace:
    """What workers need, in ticks; the fastest needs one tick for one unit of cost.

    Attributes:
        start: ticks that a worker needs before its first unit, (W,), above those of the first to start.
        beta: ticks for one unit, (W,), 1 or more.
        equal: whether all need the same for one unit.
    """

    start: Indices
    beta: Reals
    equal: bool

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self.beta)

    def ticks(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """When each worker is done, (..., W), given its units of cost."""
        return self.start + (units if self.equal else whole_ticks(units * self.beta))


def checked_speeds(speeds: Speeds, starts: Reals | None = None) -> Speeds:
    """Speeds that can be planned with.

    Args:
        speeds: of the workers.
        starts: seconds from which on they are free, instead of their alpha.

    Raises:
        ConfigurationError: no worker, too many, or an alpha or a beta that cannot be.
    """
    alpha = np.asarray(speeds.alpha if starts is None else starts, dtype=np.float64)
    beta = np.asarray(speeds.beta, dtype=np.float64)
    if beta.ndim != 1 or alpha.shape != beta.shape or not 1 <= len(beta) <= MOST_WORKERS:
        raise ConfigurationError(
            f"speeds have alpha {alpha.shape} and beta {beta.shape}; give one of each for 1 to {MOST_WORKERS} workers"
        )
    for name, values, fine in (("alpha", alpha, alpha >= 0), ("beta", beta, beta > 0)):
        bad = np.flatnonzero(~(fine & np.isfinite(values)))
        if bad.size:
            raise ConfigurationError(
                f"worker {bad[0]} has {name} {values[bad[0]]:g}; alpha is 0 or more, beta above 0, both are finite",
                worker=int(bad[0]),
            )
    return Speeds(alpha=alpha, beta=beta, membership=speeds.membership, version=speeds.version)


def pace_of(speeds: Speeds, unit: float) -> Pace:
    """Ticks of checked speeds, where one unit of cost is ``unit``."""
    fastest = float(speeds.beta.min())
    with np.errstate(over="ignore"):
        start = (speeds.alpha - speeds.alpha.min()) / fastest / unit
        beta = np.minimum(speeds.beta / fastest, LATEST)
    return Pace(start=whole_ticks(start), beta=beta, equal=bool((beta == 1).all()))


def whole_ticks(ticks: Reals) -> NDArray[np.int64]:
    """Rounded, and cut off where it makes no difference any more."""
    return np.rint(np.minimum(ticks, LATEST)).astype(np.int64)


def level(pace: Pace, units: NDArray[np.int64]) -> Reals:
    """When all would be done if costs could be cut at will, (S,): as water fills vessels of unequal bottoms.

    Args:
        pace: of the workers.
        units: of the steps, (S,).
    """
    order = np.argsort(pace.start, kind="stable")
    start, width = pace.start[order], 1 / pace.beta[order]
    widths = np.cumsum(width)
    # Units that fit below the bottom of each vessel.
    below = np.cumsum(start * width)
    full = start * widths - below
    last = np.searchsorted(full, units, side="right") - 1
    found: Reals = (units + below[last]) / widths[last]
    return found
