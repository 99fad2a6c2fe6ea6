"""The exchange that brings a slow worker and a fast one closest to being done at the same moment, for many pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.data.pace import Pace
from chronos_common.data.plan import Indices
from chronos_common.data.table import Table

_SINGLES: Final = 16
_DOUBLES: Final = 10
_CACHE: Final = 1 << 17
_NEVER: Final = 1 << 60


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundles:
    """What may go over at once: ``members`` says which of K candidates, (m, B)."""

    candidates: int
    members: Indices

    @property
    def number(self) -> int:
        """B."""
        return int(self.members.shape[1])

    @property
    def chunk(self) -> int:
        """Pairs of workers that are looked at together, so that the processor's cache holds them."""
        return max(1, _CACHE // self.number**2)


@lru_cache(maxsize=32)
def singles(candidates: int) -> Bundles:
    """One candidate each."""
    return Bundles(candidates=candidates, members=np.arange(candidates)[None])


@lru_cache(maxsize=32)
def doubles(candidates: int) -> Bundles:
    """Two candidates each: many more differences to choose from."""
    return Bundles(candidates=candidates, members=np.stack(np.triu_indices(candidates, 1)))


class Exchanges:
    """Makes exchanges in a table.

    Attributes:
        one: one sample (or empty slot) for one.
        two: two for two.
    """

    def __init__(self, table: Table, pace: Pace) -> None:
        steps, width = table.slots.shape
        self._pace = pace
        self._slots, self._costs = table.slots.reshape(-1), table.costs.reshape(-1)
        self._loads = table.loads.reshape(-1)
        self._first = (table.starts[:, :-1] + np.arange(steps)[:, None] * width).reshape(-1)
        self._held = np.diff(table.starts, axis=1).reshape(-1)
        self._least = int(self._held.min(initial=width))
        typical = -(-width // pace.workers)
        self.one = singles(min(_SINGLES, typical))
        self.two = doubles(min(_DOUBLES, typical)) if typical > 1 else self.one

    def make(
        self, rows: Indices, giver: Indices, taker: Indices, number: int, bundles: Bundles
    ) -> NDArray[np.bool_]:
        """The best exchange of each pair, made where it helps.

        Args:
            rows: steps of the pairs, (Q,).
            giver: slow worker, (Q,).
            taker: fast worker, (Q,).
            number: of the round, which decides where candidates are looked for.
            bundles: what may go over at once.

        Returns:
            Whether an exchange was made, (Q,).
        """
        made = np.zeros(len(rows), dtype=np.bool_)
        usable = np.arange(len(rows))
        if self._least == 0:
            first = rows * self._pace.workers
            usable = np.flatnonzero((self._held[first + giver] > 0) & (self._held[first + taker] > 0))
        for at in range(0, len(usable), bundles.chunk):
            part = usable[at : at + bundles.chunk]
            made[part] = self._make(rows[part], giver[part], taker[part], number, bundles)
        return made

    def _make(
        self, rows: Indices, giver: Indices, taker: Indices, number: int, bundles: Bundles
    ) -> NDArray[np.bool_]:
        pairs = len(rows)
        who = np.concatenate((giver, taker))
        shares = who + np.concatenate((rows, rows)) * self._pace.workers
        cells = self._candidates(shares, number, bundles.candidates)
        units = self._units(cells, bundles)
        given, taken = units[:pairs], units[pairs:]
        load, start, beta = self._loads.take(shares), self._pace.start.take(who), self._pace.beta.take(who)
        ends = start + beta * load
        late = ends[:pairs]
        want = (late - ends[pairs:]) / (beta[:pairs] + beta[pairs:])
        # float32 chooses; whether the choice helps is decided exactly below.
        misses = given.astype(np.float32)[:, :, None] - (taken + want[:, None]).astype(np.float32)[:, None, :]
        np.abs(misses, out=misses)
        best = misses.reshape(pairs, -1).argmin(axis=1)
        # Of the givers, then of the takers.
        bundle = np.concatenate(np.divmod(best, bundles.number))
        moved = units.reshape(-1).take(bundle + np.arange(2 * pairs) * bundles.number)
        load[:pairs] += moved[pairs:] - moved[:pairs]
        load[pairs:] += moved[:pairs] - moved[pairs:]
        ends = start + beta * load
        better = np.maximum(ends[:pairs], ends[pairs:]) < late
        chosen = better.nonzero()[0]
        both = np.concatenate((chosen, chosen + pairs))
        self._loads[shares[both]] = load[both]
        cells = cells.reshape(-1).take(bundles.members.take(bundle[both], axis=1) + both * bundles.candidates)
        here, there = cells[:, : len(chosen)], cells[:, len(chosen) :]
        for array in (self._slots, self._costs):
            array[here], array[there] = array[there], array[here]
        return better

    def _candidates(self, shares: Indices, number: int, candidates: int) -> Indices:
        """Slots, (2 Q, K), spread evenly over what each worker holds; one comes twice only where it holds fewer."""
        held = self._held.take(shares)
        turns = np.empty(len(shares), dtype=np.int64)
        turns[: len(turns) // 2], turns[len(turns) // 2 :] = number * 5, number * 5 + 5
        turns %= held
        spread = (np.arange(candidates) * held[:, None] + turns[:, None]) // candidates
        spread += self._first.take(shares)[:, None]
        return spread

    def _units(self, cells: Indices, bundles: Bundles) -> NDArray[np.int64]:
        """Cost of each bundle, (2 Q, B); out of reach where a bundle names one slot twice."""
        held = self._costs.take(cells)
        if len(bundles.members) == 1:
            return held
        left, right = bundles.members
        found: NDArray[np.int64] = held.take(left, axis=1)
        found += held.take(right, axis=1)
        if self._least < bundles.candidates:
            twice = cells.take(left, axis=1) == cells.take(right, axis=1)
            pairs = len(cells) // 2
            found[:pairs][twice[:pairs]] = _NEVER
            found[pairs:][twice[pairs:]] = -_NEVER
        return found
