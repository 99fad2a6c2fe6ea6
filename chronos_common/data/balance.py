"""Steps of one length, balanced: sorted, dealt, refined, and laid out worker after worker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_common.data.capped import deal_capped
from chronos_common.data.deal import deal
from chronos_common.data.pace import Pace
from chronos_common.data.plan import Caps, Indices, Reals
from chronos_common.data.refine import refine, tabulate
from chronos_common.data.segments import Limits, cut
from chronos_common.errors import CapacityError

_EMPTY_SLOTS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Shares:
    """Who takes what.

    Attributes:
        positions: in the step, those of worker 0 first, (S, n).
        offsets: (S, W + 1).
        units: cost of each share, (S, W).
    """

    positions: Indices
    offsets: Indices
    units: NDArray[np.int64]


def balanced(
    costs: NDArray[np.int64],
    sizes: Reals | None,
    pace: Pace,
    caps: Caps | None,
    *,
    equal_counts: bool,
    grain: int,
) -> Shares:
    """Shares that are done at the same moment, as nearly as samples allow.

    Args:
        costs: units, (S, n).
        sizes: of the same samples; asked for only with caps.
        pace: of the workers.
        caps: checked; a step that exceeds them is dealt anew within them, and not refined.
        equal_counts: every worker takes as many as any other, or one less.
        grain: all costs are multiples of it.

    Raises:
        CapacityError: a step does not fit into the caps.
    """
    order = falling(costs)
    sorted_costs = np.take_along_axis(costs, order, axis=1)
    owners = deal(sorted_costs, pace, equal_counts=equal_counts)
    table = tabulate(sorted_costs, owners, pace.workers, 0 if equal_counts else _EMPTY_SLOTS)
    refine(table, pace, grain)
    real = table.slots >= 0
    positions = np.take_along_axis(order, table.slots[real].reshape(costs.shape), axis=1)
    before = np.zeros((len(costs), table.slots.shape[1] + 1), dtype=np.int64)
    np.cumsum(real, axis=1, out=before[:, 1:])
    found = Shares(
        positions=positions, offsets=np.take_along_axis(before, table.starts, axis=1), units=table.loads
    )
    if caps is None or sizes is None:
        return found
    over = exceeding(found, sizes, caps)
    for row in np.flatnonzero(over):
        mine = order[row]
        who = deal_capped(costs[row, mine], sizes[row, mine], pace, caps, equal_counts=equal_counts)
        table = tabulate(costs[row : row + 1, mine], who[None], pace.workers, 0)
        found.positions[row] = mine[table.slots[0]]
        found.offsets[row] = table.starts[0]
        found.units[row] = table.loads[0]
    return found


def segmented(
    costs: NDArray[np.int64], sizes: Reals | None, pace: Pace, caps: Caps | None, turns: Indices
) -> Shares:
    """Shares that are segments of the sorted step; one costs its count times its most expensive sample.

    Args:
        costs: units, (S, n).
        sizes: of the same samples; asked for only with caps.
        pace: of the workers.
        caps: checked.
        turns: worker that takes the most expensive segment of each step, (S,); the others follow in turn.

    Raises:
        CapacityError: a step does not fit into the caps.
    """
    steps, workers = len(costs), pace.workers
    order = falling(costs)
    sorted_costs = np.take_along_axis(costs, order, axis=1)
    takers = (np.arange(workers) + turns[:, None]) % workers
    limits = None
    if caps is not None and sizes is not None:
        longest = np.take_along_axis(sizes, order, axis=1)[:, ::-1]
        longest = np.maximum.accumulate(longest, axis=1)[:, ::-1]
        longest = np.concatenate([longest, longest[:, -1:]], axis=1)
        limits = Limits(count=caps.count, memory=caps.memory, longest=longest)
    counts = cut(sorted_costs, pace, takers, limits)
    if limits is not None and (counts < 0).any():
        by_room = np.repeat(np.argsort(-limits.memory, kind="stable")[None], steps, axis=0)
        impossible = counts[:, 0] < 0
        takers = np.where(impossible[:, None], by_room, takers)
        counts = cut(sorted_costs, pace, takers, limits)
    if (counts < 0).any():
        raise CapacityError(
            f"{costs.shape[1]} samples, each share padded to its longest, do not fit into the caps of {workers} "
            "workers: raise the caps, or make batch_size smaller",
            samples=costs.shape[1],
            workers=workers,
        )
    ends = np.cumsum(counts, axis=1)
    first = np.concatenate([np.zeros((steps, 1), dtype=np.int64), ends[:, :-1]], axis=1)
    most = np.take_along_axis(sorted_costs, np.minimum(first, costs.shape[1] - 1), axis=1)
    by_worker = np.argsort(takers, axis=1, kind="stable")
    # Places of the sorted samples, worker after worker.
    owners = np.empty(costs.shape, dtype=np.int64)
    for row in range(steps):
        owners[row] = np.repeat(takers[row], counts[row])
    places = np.argsort(owners, axis=1, kind="stable")
    offsets = np.zeros((steps, workers + 1), dtype=np.int64)
    np.cumsum(np.take_along_axis(counts, by_worker, axis=1), axis=1, out=offsets[:, 1:])
    units = np.take_along_axis(counts * most, by_worker, axis=1)
    return Shares(positions=np.take_along_axis(order, places, axis=1), offsets=offsets, units=units)


def falling(costs: NDArray[np.int64]) -> Indices:
    """Positions from the most expensive sample to the cheapest, ties as they stand, (S, n)."""
    samples = costs.shape[1]
    bits = samples.bit_length()
    # One sort of whole numbers that hold the position in their low bits: exact, and faster than a stable argsort.
    keys = ((costs.max(axis=1, keepdims=True) - costs) << bits) | np.arange(samples)
    keys.sort(axis=1)
    places: Indices = keys & ((1 << bits) - 1)
    return places


def exceeding(shares: Shares, sizes: Reals, caps: Caps) -> NDArray[np.bool_]:
    """Which steps exceed a cap, (S,)."""
    counts = np.diff(shares.offsets, axis=1)
    over: NDArray[np.bool_] = np.any(counts > caps.count, axis=1)
    if np.isfinite(caps.memory).any():
        for row in range(len(sizes)):
            owners = np.repeat(np.arange(counts.shape[1]), counts[row])
            held = np.bincount(owners, sizes[row, shares.positions[row]], minlength=counts.shape[1])
            over[row] |= bool((held > caps.memory).any())
    return over
