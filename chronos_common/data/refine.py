"""Exchanges between the slowest workers and the fastest, for many steps at once.

In each round the slowest worker is paired with the fastest, the second slowest with the second fastest, and so on, and
each pair makes the one exchange that brings it closest to being done at the same moment. An empty slot takes part like a
sample that costs nothing, so that giving a sample away is an exchange too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.data.pace import Pace, level
from chronos_common.data.plan import Indices

TOLERANCE: Final = 1e-4
_EMPTY_SLOTS: Final = 2
_CANDIDATES: Final = 16
_ROUNDS: Final = 24
_PATIENCE: Final = 3
_CHUNK: Final = 512


@dataclass(kw_only=True, eq=False)
class Table:
    """Shares side by side: worker w of step s holds the slots ``starts[s, w]`` to ``starts[s, w + 1]`` of row s.

    Attributes:
        slots: position of a sample in its step, or -1 for none, (S, M).
        costs: units, 0 for none, (S, M).
        starts: (S, W + 1).
        loads: units of each worker, (S, W).
    """

    slots: Indices
    costs: NDArray[np.int64]
    starts: Indices
    loads: NDArray[np.int64]


def tabulate(costs: NDArray[np.int64], owners: Indices, workers: int, empty: int = _EMPTY_SLOTS) -> Table:
    """Shares of dealt samples.

    Args:
        costs: units, (S, n).
        owners: worker of each sample, (S, n).
        workers: how many there are.
        empty: slots more than samples for each.
    """
    steps, samples = costs.shape
    bits = samples.bit_length()
    keys = (owners << bits) | np.arange(samples)
    keys.sort(axis=1)
    rows = np.arange(steps)[:, None]
    flat = (owners + rows * workers).reshape(-1)
    counts = np.bincount(flat, minlength=steps * workers).reshape(steps, workers)
    starts = np.zeros((steps, workers + 1), dtype=np.int64)
    np.cumsum(counts + empty, axis=1, out=starts[:, 1:])
    slots = np.full((steps, samples + empty * workers), -1, dtype=np.int64)
    places = np.arange(samples) + (keys >> bits) * empty
    positions = keys & ((1 << bits) - 1)
    slots[rows, places] = positions
    held = np.zeros(slots.shape, dtype=np.int64)
    held[rows, places] = costs[rows, positions]
    loads = np.add.reduceat(held.reshape(-1), (starts[:, :-1] + rows * slots.shape[1]).reshape(-1))
    loads = loads.reshape(steps, workers) * (counts + empty > 0)
    return Table(slots=slots, costs=held, starts=starts, loads=loads)


def refine(table: Table, pace: Pace) -> None:
    """Exchanges in place until every worker is within 1e-4 of when all could be done, or no exchange helps."""
    workers = pace.workers
    bits, half = workers.bit_length(), workers // 2
    if not half:
        return
    mask = (1 << bits) - 1
    enough = level(pace, table.loads.sum(axis=1)) * (1 + TOLERANCE)
    rows = np.arange(len(table.loads))
    stale = np.zeros(len(rows), dtype=np.int64)
    for number in range(_ROUNDS):
        times = pace.ticks(table.loads[rows])
        keys = (times << bits) | np.arange(workers)
        keys.sort(axis=1)
        busy = (keys[:, -1] >> bits) > enough[rows]
        keep = busy & (stale < _PATIENCE)
        if not keep.all():
            rows, keys, stale = rows[keep], keys[keep], stale[keep]
            if not len(rows):
                return
        low, high = keys[:, :half], keys[:, : -half - 1 : -1]
        if number % 4 == 3:
            low = np.roll(low, 1 + number // 4, axis=1)
        pairs = np.flatnonzero((high >> bits) > enough[rows][:, None])
        step = pairs // half
        gained = np.zeros(len(rows), dtype=bool)
        giver, taker = high.reshape(-1)[pairs] & mask, low.reshape(-1)[pairs] & mask
        for at in range(0, len(pairs), _CHUNK):
            part = slice(at, at + _CHUNK)
            done = _exchange(table, pace, rows[step[part]], giver[part], taker[part], number)
            gained[step[part][done]] = True
        stale = np.where(gained, 0, stale + 1)


def _exchange(
    table: Table, pace: Pace, rows: Indices, giver: Indices, taker: Indices, number: int
) -> NDArray[np.bool_]:
    """The best exchange of each pair, made where it helps; says where it did."""
    gives, takes = _candidates(table, rows, giver, number), _candidates(table, rows, taker, number + 1)
    costs = table.costs.reshape(-1)
    high, low = table.loads[rows, giver], table.loads[rows, taker]
    beta_high, beta_low = pace.beta[giver], pace.beta[taker]
    late = pace.start[giver] + beta_high * high
    want = (late - (pace.start[taker] + beta_low * low)) / (beta_high + beta_low)
    # float32 chooses; whether the choice helps is decided exactly below.
    target = (costs.take(takes) + want[:, None]).astype(np.float32)
    misses = costs.take(gives).astype(np.float32)[:, :, None] - target[:, None, :]
    np.abs(misses, out=misses)
    best = misses.reshape(len(rows), -1).argmin(axis=1)
    pick = np.arange(len(rows))
    give, take = gives[pick, best // takes.shape[1]], takes[pick, best % takes.shape[1]]
    moved = costs[give] - costs[take]
    worst = np.maximum(
        pace.start[giver] + beta_high * (high - moved), pace.start[taker] + beta_low * (low + moved)
    )
    better = worst < late
    give, take, moved = give[better], take[better], moved[better]
    slots = table.slots.reshape(-1)
    slots[give], slots[take] = slots[take], slots[give]
    costs[give] -= moved
    costs[take] += moved
    table.loads[rows[better], giver[better]] -= moved
    table.loads[rows[better], taker[better]] += moved
    return better


def _candidates(table: Table, rows: Indices, workers: Indices, number: int) -> Indices:
    """Slots, (Q, K), spread evenly over what each worker holds."""
    start = table.starts[rows, workers]
    held = table.starts[rows, workers + 1] - start
    take = min(_CANDIDATES, max(1, int(held.max(initial=1))))
    first = (number * 5) % np.maximum(held, 1)
    spread = (np.arange(take) * held[:, None] + first[:, None]) // take
    return (rows * table.slots.shape[1] + start)[:, None] + np.minimum(spread, np.maximum(held - 1, 0)[:, None])
