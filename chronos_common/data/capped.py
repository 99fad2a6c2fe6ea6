"""Dealing where workers hold only so much: the next largest sample to who would finish it first, of those with room.

One sample after the other, so some ten times slower than :mod:`~chronos_common.data.deal`; it is asked only for those
steps whose free deal exceeds a cap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chronos_common.data.pace import Pace
from chronos_common.data.plan import Caps, Indices, Reals
from chronos_common.errors import CapacityError, ConfigurationError


def checked_caps(caps: Caps, workers: int) -> Caps:
    """Caps with infinity in the place of 0.

    Raises:
        ConfigurationError: of another shape than (W,), negative or NaN.
    """
    count = np.asarray(caps.count, dtype=np.float64)
    memory = np.asarray(caps.memory, dtype=np.float64)
    for name, values in (("count", count), ("memory", memory)):
        if values.shape != (workers,) or not (values >= 0).all():
            raise ConfigurationError(
                f"caps on {name} are {values.shape}, least {values.min(initial=0):g}; give one of 0 (no limit) or more "
                f"for each of {workers} workers"
            )
    return Caps(count=np.where(count > 0, count, np.inf), memory=np.where(memory > 0, memory, np.inf))


def deal_capped(
    costs: NDArray[np.int64], sizes: Reals, pace: Pace, caps: Caps, *, equal_counts: bool
) -> Indices:
    """Who takes which sample of one step.

    Args:
        costs: units, falling, (n,).
        sizes: of the same samples, (n,).
        pace: of the workers.
        caps: checked.
        equal_counts: every worker takes as many as any other, or one less.

    Returns:
        The worker of each sample, (n,).

    Raises:
        CapacityError: the samples do not fit, or neither by time nor by room a way was found to fit them.
    """
    counts = caps.count
    spare = 0
    if equal_counts:
        least, spare = divmod(len(costs), pace.workers)
        if (counts < least).any() or np.count_nonzero(counts > least) < spare:
            raise _too_tight(costs, sizes, caps, f"kind 'static' gives each worker {least} or one more")
    if counts.sum() < len(costs):
        raise _too_tight(costs, sizes, caps, "the caps on count do not add up to them")
    if not (sizes <= caps.memory.max()).all():
        raise _too_tight(costs, sizes, caps, f"one of size {sizes.max():g} exceeds every cap on memory")
    for by_time in (True, False):
        order = np.arange(len(costs)) if by_time else np.argsort(-sizes, kind="stable")
        found = _dealt(costs, sizes, order, pace, caps, by_time, least if equal_counts else None, spare)
        if found is not None:
            return found
    raise _too_tight(costs, sizes, caps, "no way was found to fit them")


def _dealt(
    costs: NDArray[np.int64],
    sizes: Reals,
    order: Indices,
    pace: Pace,
    caps: Caps,
    by_time: bool,
    least: int | None,
    spare: int,
) -> Indices | None:
    owners = np.empty(len(costs), dtype=np.int64)
    times = pace.start.astype(np.float64)
    counts, held = np.zeros(pace.workers), np.zeros(pace.workers)
    for sample in order:
        after = times + pace.beta * costs[sample]
        room = (counts < caps.count) & (held + sizes[sample] <= caps.memory)
        if least is not None:
            room &= counts < least + (spare > 0)
        if not room.any():
            return None
        wish = (
            after if by_time else held - np.where(np.isfinite(caps.memory), caps.memory, np.finfo(float).max)
        )
        worker = int(np.where(room, wish, np.inf).argmin())
        owners[sample] = worker
        times[worker] = after[worker]
        held[worker] += sizes[sample]
        counts[worker] += 1
        if least is not None and counts[worker] > least:
            spare -= 1
    return owners


def _too_tight(costs: NDArray[np.int64], sizes: Reals, caps: Caps, why: str) -> CapacityError:
    return CapacityError(
        f"{len(costs)} samples of size {sizes.sum():g} do not fit into {len(caps.count)} workers with room for "
        f"{caps.count.sum():g} samples and {caps.memory.sum():g} in size: {why}; raise the caps, or make batch_size "
        "smaller",
        samples=len(costs),
        workers=len(caps.count),
    )
