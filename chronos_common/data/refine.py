"""Exchanges between the slowest workers and the fastest, for many steps at once.

In each round the slowest worker is paired with the fastest, the second slowest with the second fastest, and so on,
and each pair makes the one exchange that brings it closest to being done at the same moment. An empty slot takes part
like a sample that costs nothing, so that giving a sample away is an exchange too.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from chronos_common.data.exchange import Exchanges
from chronos_common.data.pace import Pace, level
from chronos_common.data.plan import Indices
from chronos_common.data.table import Table

TOLERANCE: Final = 1e-4
_ROUNDS: Final = 24
_COARSE_ROUNDS: Final = 2
_PICKY_ROUNDS: Final = 6
_PATIENCE: Final = 3


def refine(table: Table, pace: Pace, grain: int = 1) -> None:
    """Exchanges in place until every worker is within 1e-4 (late: 2e-4) of when all could be done, or none helps.

    What happens to one step does not depend on the others in the table.

    Args:
        table: the shares.
        pace: of the workers.
        grain: all costs are multiples of it; no sum can lie closer to a mean.
    """
    workers = pace.workers
    half = workers // 2
    if not half:
        return
    bits = workers.bit_length()
    mask = (1 << bits) - 1
    exchanges = Exchanges(table, pace)
    enough, nearly = _goals(table, pace, grain)
    rows = np.arange(len(table.loads))
    stale = np.zeros(len(rows), dtype=np.int64)
    for number in range(_ROUNDS):
        limits = enough if number < _PICKY_ROUNDS else nearly
        loads = table.loads.take(rows, axis=0)
        times = pace.ticks(loads)
        if not pace.together:
            # Who is late without any load has nothing to give, and must not stand in the way of those who have.
            times = np.where(loads > 0, times, np.minimum(times, limits[:, None]))
        keys = (times << bits) | np.arange(workers)
        keys.sort(axis=1)
        keep = ((keys[:, -1] >> bits) > limits) & (stale < _PATIENCE)
        if not keep.all():
            rows, keys, stale, limits = rows[keep], keys[keep], stale[keep], limits[keep]
            enough, nearly = enough[keep], nearly[keep]
            if not len(rows):
                return
        low, high = keys[:, :half], keys[:, : -half - 1 : -1]
        if number % 2:
            low = low.take((np.arange(half) - number // 2) % half, axis=1)
        late = (high >> bits) > limits[:, None]
        fine = (stale > 0) | (number >= _COARSE_ROUNDS)
        gained = np.zeros(len(rows), dtype=bool)
        for bundles, which in ((exchanges.one, ~fine), (exchanges.two, fine)):
            if which.any():
                now = late & which[:, None]
                place = now.nonzero()[0]
                done = exchanges.make(rows[place], high[now] & mask, low[now] & mask, number, bundles)
                gained[place[done]] = True
        stale = np.where(gained, 0, stale + 1)


def _goals(table: Table, pace: Pace, grain: int) -> tuple[Indices, Indices]:
    """Ticks by which a step is done well enough, early and late in the search, (S,) each."""
    best = level(pace, table.loads.sum(axis=1))
    enough, nearly = ((best * (1 + part)).astype(np.int64) for part in (TOLERANCE, 2 * TOLERANCE))
    if pace.equal and pace.together:
        enough = np.maximum(enough, np.ceil(best / grain).astype(np.int64) * grain)
    return enough, np.maximum(enough, nearly)
