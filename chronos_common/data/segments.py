"""Contiguous segments of the sorted batch, for models that pad a share to its longest sample.

A share costs its count times its longest sample. With samples falling, and workers in a given order, each takes as many
as it can finish by a time T, which is the best that it can do for those behind it; the least T that leaves nothing over
is searched by halving. The cut is the best for that order of workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.data.pace import Pace, level
from chronos_common.data.plan import Indices, Reals

_TRIALS: Final = 64
_PASSES: Final = 3
"""Each narrows T by the number of trials: to 4e-6 of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Limits:
    """What workers hold at most.

    Attributes:
        count: samples, (W,).
        memory: count times longest, (W,).
        longest: size of the longest sample from each position on, (S, n + 1).
    """

    count: NDArray[Any]
    memory: Reals
    longest: Reals


def cut(costs: NDArray[np.int64], pace: Pace, order: Indices, limits: Limits | None) -> Indices:
    """How many samples each worker takes, (S, W), in the order of ``order``; -1 everywhere where it cannot be done.

    Args:
        costs: units, each row falling, (S, n).
        pace: of the workers.
        order: of the workers that take one segment after the other, (S, W).
        limits: what each worker holds at most.
    """
    steps, samples = costs.shape
    padded = np.concatenate([np.maximum(costs, 1), np.ones((steps, 1), dtype=np.int64)], axis=1)
    lowest = np.maximum(level(pace, costs.sum(axis=1)), 1.0)
    doubling = lowest[:, None] * np.ldexp(1.0, np.arange(_TRIALS))
    fits = _filled(padded, pace, order, limits, doubling)[0] >= samples
    possible = fits.any(axis=1)
    rows = np.arange(steps)
    least = fits.argmax(axis=1)
    high = doubling[rows, least]
    low = np.where(least > 0, high / 2, high)
    parts = np.arange(1, _TRIALS + 1) / _TRIALS
    for _ in range(_PASSES):
        trials = low[:, None] + (high - low)[:, None] * parts
        trials[:, -1] = high
        least = (_filled(padded, pace, order, limits, trials)[0] >= samples).argmax(axis=1)
        low, high = np.where(least > 0, trials[rows, least - 1], low), trials[rows, least]
    counts = _filled(padded, pace, order, limits, high[:, None])[1][:, :, 0]
    return np.where(possible[:, None], counts, -1)


def _filled(
    padded: NDArray[np.int64],
    pace: Pace,
    order: Indices,
    limits: Limits | None,
    times: Reals,
) -> tuple[Indices, Indices]:
    """Samples taken by time T, all together, (S, R), and by each worker, (S, W, R); T is ``times``, (S, R)."""
    steps, width = padded.shape
    flat, base = padded.reshape(-1), (np.arange(steps) * width)[:, None]
    reached = np.zeros(times.shape, dtype=np.int64)
    counts = np.zeros((steps, order.shape[1], times.shape[1]), dtype=np.int64)
    for place in range(order.shape[1]):
        who = order[:, place, None]
        longest = flat.take(base + reached)
        room = np.maximum(times - pace.start[who], 0) / pace.beta[who]
        most = np.floor(room / longest)
        if limits is not None:
            with np.errstate(over="ignore"):
                held = np.floor(limits.memory[who] / limits.longest.take(base + reached))
            most = np.minimum(most, np.minimum(held, limits.count[who]))
        taken = np.minimum(most, width - 1 - reached).astype(np.int64)
        counts[:, place] = taken
        reached += taken
    return reached, counts
