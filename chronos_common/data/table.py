"""Shares side by side, with empty slots that make moves of exchanges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronos_common.data.plan import Indices

EMPTY_SLOTS: Final = 2


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


def tabulate(costs: NDArray[np.int64], owners: Indices, workers: int, empty: int = EMPTY_SLOTS) -> Table:
    """Shares of dealt samples.

    Args:
        costs: units, (S, n).
        owners: worker of each sample, (S, n).
        workers: how many there are.
        empty: slots more than samples for each.
    """
    steps, samples = costs.shape
    # A stable sort of 16-bit numbers goes by their digits, several times faster than any of longer ones.
    positions = owners.astype(np.int16).argsort(axis=1, kind="stable")
    rows = np.arange(steps)[:, None]
    flat = (owners + rows * workers).reshape(-1)
    counts = np.bincount(flat, minlength=steps * workers).reshape(steps, workers)
    starts = np.zeros((steps, workers + 1), dtype=np.int64)
    np.cumsum(counts + empty, axis=1, out=starts[:, 1:])
    # Sums of units are exact in floats: those of a batch have 42 bits.
    loads = np.bincount(flat, costs.reshape(-1), minlength=steps * workers).astype(np.int64)
    width = samples + empty * workers
    slots = np.full((steps, width), -1, dtype=np.int64)
    held = np.zeros((steps, width), dtype=np.int64)
    cells = positions + rows * samples
    places = owners.reshape(-1).take(cells) * empty + (np.arange(samples) + rows * width)
    slots.reshape(-1)[places] = positions
    held.reshape(-1)[places] = costs.reshape(-1).take(cells)
    return Table(slots=slots, costs=held, starts=starts, loads=loads.reshape(steps, workers))
