"""Longest processing time first, for many steps at once.

Graham (1969), "Bounds on multiprocessing timing anomalies": the next largest sample goes to the worker that would
finish it first. One by one that is a loop over samples; here it goes in rounds, in each of which all the workers get
one sample that would finish it before the soonest of them finished a second. Rounds need a handful of operations on
arrays (steps, workers).

Between the largest samples, that decide, and the smallest, that even out, lie those of which each is like the next.
They are dealt a handful at a time, so that the number of rounds does not grow with the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.data.pace import Pace, level, whole_ticks
from chronos_common.data.plan import Indices

_LARGEST_ROWS: Final = 6
_SMALLEST_ROWS: Final = 8
_MIDDLE_ROWS: Final = 6
"""Rounds that the large, the small and those between would take if every round gave each worker one."""

_ALIKE: Final = 4.0
"""Ratio of speeds up to which handfuls are dealt; a slower worker than that may want less than a handful."""

_WORTHLESS_BITS: Final = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Handfuls:
    """Samples dealt together.

    Attributes:
        order: positions of samples, handful after handful, (n,).
        first: position in ``order`` of the first sample that is in a handful of more than one.
        size: samples of each such handful.
        number: how many of these there are.
    """

    order: Indices
    first: int
    size: int
    number: int

    def gather(self, costs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Costs of the handfuls, (S, m), of those of samples, (S, n)."""
        if self.size == 1:
            return costs
        end = self.first + self.number * self.size
        middle = (
            costs[:, self.order[self.first : end]].reshape(len(costs), self.number, self.size).sum(axis=2)
        )
        return np.concatenate([costs[:, : self.first], middle, costs[:, end:]], axis=1)

    def spread(self, owners: Indices) -> Indices:
        """Workers of the samples, (S, n), given those of the handfuls, (S, m)."""
        if self.size == 1:
            return owners
        lengths = np.ones(owners.shape[1], dtype=np.int64)
        lengths[self.first : self.first + self.number] = self.size
        found = np.empty((len(owners), len(self.order)), dtype=np.int64)
        found[:, self.order] = np.repeat(owners, lengths, axis=1)
        return found


def handfuls(samples: int, workers: int) -> Handfuls:
    """How ``samples`` of falling cost are dealt to ``workers``.

    The samples between are laid out in rows of one sample for each worker; a handful takes one of each of some rows, to
    and fro like an ox at plough, which makes handfuls nearly equal.
    """
    rows = samples // workers - _LARGEST_ROWS - _SMALLEST_ROWS
    size = rows // _MIDDLE_ROWS
    if size < 2:
        return Handfuls(order=np.arange(samples), first=0, size=1, number=0)
    first = _LARGEST_ROWS * workers
    blocks = rows // size
    number = blocks * workers
    middle = first + np.arange(number * size).reshape(blocks, size, workers)
    middle[:, 1::2] = middle[:, 1::2, ::-1]
    order = np.arange(samples)
    order[first : first + number * size] = middle.transpose(0, 2, 1).reshape(-1)
    return Handfuls(order=order, first=first, size=size, number=number)


def deal(costs: NDArray[np.int64], pace: Pace, *, equal_counts: bool) -> Indices:
    """Who takes which sample.

    Args:
        costs: units, each row falling, (S, n).
        pace: of the workers.
        equal_counts: every worker takes as many as any other, or one less.

    Returns:
        The worker of each sample, (S, n).
    """
    together = handfuls(costs.shape[1], pace.workers if pace.beta.max() <= _ALIKE else costs.shape[1])
    return together.spread(_rounds(together.gather(costs), pace, equal_counts=equal_counts))


def _rounds(costs: NDArray[np.int64], pace: Pace, *, equal_counts: bool) -> Indices:
    steps, samples = costs.shape
    workers = pace.workers
    bits = workers.bit_length()
    mask = (1 << bits) - 1
    width = samples + workers
    padded = np.zeros((steps, width), dtype=np.int64)
    padded[:, :samples] = costs
    flat = padded.reshape(-1)
    owners = np.empty(steps * width, dtype=np.int64)
    cells = np.arange(steps)[:, None] * width + np.arange(workers)
    ends = cells[:, :1] + samples
    # A tail that weighs nothing goes round; otherwise it would pile up with whoever is first.
    worthless = (level(pace, costs.sum(axis=1)).astype(np.int64)[:, None] >> _WORTHLESS_BITS) + 1
    keys = np.repeat(((pace.start << bits) | np.arange(workers))[None], steps, axis=0)
    taken: int | Indices = workers
    while True:
        first = flat.take(cells[:, :1])
        if not pace.equal:
            keys += _ticks(pace, keys & mask, first) << bits
        keys.sort(axis=1)
        who = keys & mask
        owners[cells] = who
        gets = flat.take(cells)
        if not equal_counts:
            turn = first if pace.equal else _ticks(pace, who[:, :1], first)
            part = keys <= (keys[:, :1] + (np.maximum(turn, worthless) << bits)) | mask
            gets *= part
            taken = np.minimum(part.sum(axis=1, keepdims=True), ends - cells[:, :1])
        if pace.equal:
            keys += gets << bits
        else:
            keys += (_ticks(pace, who, gets) - _ticks(pace, who, first)) << bits
        cells += taken
        if (cells[:, :1] >= ends).all():
            return owners.reshape(steps, width)[:, :samples]


def _ticks(pace: Pace, who: Indices, units: NDArray[np.int64]) -> NDArray[np.int64]:
    return whole_ticks(pace.beta.take(who) * units)
