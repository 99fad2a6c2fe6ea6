"""Exchanges between the slowest workers and the fastest, for many steps at once.

In each round the slowest worker is paired with the fastest, the second slowest with the second fastest, and so on,
and each pair makes the one exchange that brings it closest to being done at the same moment. An empty slot takes part
like a sample that costs nothing, so that giving a sample away is an exchange too.
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
_SINGLES: Final = 16
_DOUBLES: Final = 10
_ROUNDS: Final = 24
_COARSE_ROUNDS: Final = 3
_PICKY_ROUNDS: Final = 6
_PATIENCE: Final = 3
_CACHE: Final = 1 << 17
_NEVER: Final = 1 << 60


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
    sums = np.zeros((steps, slots.shape[1] + 1), dtype=np.int64)
    np.cumsum(held, axis=1, out=sums[:, 1:])
    loads = np.diff(np.take_along_axis(sums, starts, axis=1), axis=1)
    return Table(slots=slots, costs=held, starts=starts, loads=loads)


def refine(table: Table, pace: Pace, grain: int = 1) -> None:
    """Exchanges in place until every worker is within 1e-4 (late: 2e-4) of when all could be done, or none helps.

    What happens to one step does not depend on the others in the table.

    Args:
        table: the shares.
        pace: of the workers.
        grain: all costs are multiples of it; no sum can lie closer to a mean.
    """
    workers = pace.workers
    bits, half = workers.bit_length(), workers // 2
    enough, nearly = _goals(table, pace, grain)
    held = -(-table.slots.shape[1] // workers)
    one = singles(min(_SINGLES, held))
    two = doubles(min(_DOUBLES, held)) if held > 1 else one
    rows = np.arange(len(table.loads) if half else 0)
    stale = np.zeros(len(rows), dtype=np.int64)
    for number in range(_ROUNDS):
        limits = enough[rows] if number < _PICKY_ROUNDS else nearly[rows]
        times = pace.ticks(table.loads[rows])
        # Who is late without any load has nothing to give, and must not stand in the way of those who have.
        times = np.where(table.loads[rows] > 0, times, np.minimum(times, limits[:, None]))
        keys = (times << bits) | np.arange(workers)
        keys.sort(axis=1)
        keep = ((keys[:, -1] >> bits) > limits) & (stale < _PATIENCE)
        rows, keys, stale, limits = rows[keep], keys[keep], stale[keep], limits[keep]
        if not len(rows):
            return
        low, high = keys[:, :half], keys[:, : -half - 1 : -1]
        if number % 2:
            low = np.roll(low, number // 2, axis=1)
        late = (high >> bits) > limits[:, None]
        fine = (stale > 0) | (number >= _COARSE_ROUNDS)
        gained = np.zeros(len(rows), dtype=bool)
        for bundles, which in ((one, ~fine), (two, fine)):
            if which.any():
                pairs = Pairs.of(table, rows, high, low, late & which[:, None])
                gained |= _exchanges(table, pace, pairs, number, bundles)
        stale = np.where(gained, 0, stale + 1)


def _goals(table: Table, pace: Pace, grain: int) -> tuple[Indices, Indices]:
    """Ticks by which a step is done well enough, early and late in the search, (S,) each."""
    best = level(pace, table.loads.sum(axis=1))
    enough, nearly = ((best * (1 + part)).astype(np.int64) for part in (TOLERANCE, 2 * TOLERANCE))
    if pace.equal and not pace.start.any():
        enough = np.maximum(enough, np.ceil(best / grain).astype(np.int64) * grain)
    return enough, np.maximum(enough, nearly)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Workers that may exchange something.

    Attributes:
        place: of the step among those that are looked at, (Q,).
        rows: of the step in the table, (Q,).
        giver: slow worker, (Q,).
        taker: fast worker, (Q,).
        steps: that are looked at.
    """

    place: Indices
    rows: Indices
    giver: Indices
    taker: Indices
    steps: int

    @classmethod
    def of(cls, table: Table, rows: Indices, high: Indices, low: Indices, which: NDArray[np.bool_]) -> Pairs:
        """Those of sorted workers, (S, W // 2) each, that ``which`` names and where both have a slot."""
        mask = (1 << table.loads.shape[1].bit_length()) - 1
        place, column = np.nonzero(which)
        giver, taker = high[place, column] & mask, low[place, column] & mask
        held = np.diff(table.starts, axis=1)
        both = (held[rows[place], giver] > 0) & (held[rows[place], taker] > 0)
        return cls(
            place=place[both],
            rows=rows[place[both]],
            giver=giver[both],
            taker=taker[both],
            steps=len(rows),
        )


def _exchanges(table: Table, pace: Pace, pairs: Pairs, number: int, bundles: Bundles) -> NDArray[np.bool_]:
    """One exchange for each pair; says in which steps one was made."""
    gained = np.zeros(pairs.steps, dtype=bool)
    for at in range(0, len(pairs.place), bundles.chunk):
        part = slice(at, at + bundles.chunk)
        done = _exchange(table, pace, pairs.rows[part], pairs.giver[part], pairs.taker[part], number, bundles)
        gained[pairs.place[part][done]] = True
    return gained


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundles:
    """What may go over at once: ``members`` says which of K candidates, (B, m)."""

    candidates: int
    members: Indices

    def costs(self, costs: NDArray[np.int64], cells: Indices, sign: int) -> NDArray[np.int64]:
        """Of each bundle, (Q, B), given cells (Q, K); out of reach where a bundle names one cell twice."""
        held = costs.take(cells)
        if self.members.shape[1] == 1:
            return held
        left, right = self.members.T
        found = held[:, left] + held[:, right]
        found[cells[:, left] == cells[:, right]] = sign * _NEVER
        return found

    @property
    def chunk(self) -> int:
        """Pairs of workers that are looked at together, so that the processor's cache holds them."""
        return max(1, _CACHE // len(self.members) ** 2)


def singles(candidates: int) -> Bundles:
    """One candidate each."""
    return Bundles(candidates=candidates, members=np.arange(candidates)[:, None])


def doubles(candidates: int) -> Bundles:
    """Two candidates each: many more differences to choose from."""
    return Bundles(candidates=candidates, members=np.stack(np.triu_indices(candidates, 1), axis=1))


def _exchange(
    table: Table, pace: Pace, rows: Indices, giver: Indices, taker: Indices, number: int, bundles: Bundles
) -> NDArray[np.bool_]:
    """The best exchange of each pair, made where it helps; says where it did."""
    costs = table.costs.reshape(-1)
    gives = _candidates(table, rows, giver, number, bundles.candidates)
    takes = _candidates(table, rows, taker, number + 1, bundles.candidates)
    given, taken = bundles.costs(costs, gives, 1), bundles.costs(costs, takes, -1)
    high, low = table.loads[rows, giver], table.loads[rows, taker]
    beta_high, beta_low = pace.beta[giver], pace.beta[taker]
    late = pace.start[giver] + beta_high * high
    want = (late - (pace.start[taker] + beta_low * low)) / (beta_high + beta_low)
    # float32 chooses; whether the choice helps is decided exactly below.
    misses = (given.astype(np.float32))[:, :, None] - (taken + want[:, None]).astype(np.float32)[:, None, :]
    np.abs(misses, out=misses)
    best = misses.reshape(len(rows), -1).argmin(axis=1)
    pick = np.arange(len(rows))
    give, take = best // len(bundles.members), best % len(bundles.members)
    moved = given[pick, give] - taken[pick, take]
    worst = np.maximum(
        pace.start[giver] + beta_high * (high - moved), pace.start[taker] + beta_low * (low + moved)
    )
    better = np.flatnonzero(worst < late)
    here = np.take_along_axis(gives[better], bundles.members[give[better]], axis=1)
    there = np.take_along_axis(takes[better], bundles.members[take[better]], axis=1)
    for array in (table.slots.reshape(-1), costs):
        array[here], array[there] = array[there], array[here]
    table.loads[rows[better], giver[better]] -= moved[better]
    table.loads[rows[better], taker[better]] += moved[better]
    mine: NDArray[np.bool_] = worst < late
    return mine


def _candidates(table: Table, rows: Indices, workers: Indices, number: int, candidates: int) -> Indices:
    """Slots, (Q, K), spread evenly over what each worker holds; a slot comes twice only where it holds fewer."""
    start = table.starts[rows, workers]
    held = table.starts[rows, workers + 1] - start
    first = (number * 5) % np.maximum(held, 1)
    spread = (np.arange(candidates) * held[:, None] + first[:, None]) // candidates
    cells: Indices = (rows * table.slots.shape[1] + start)[:, None] + spread
    return cells
