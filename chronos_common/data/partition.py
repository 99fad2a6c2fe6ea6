"""Partitioned data sets: samples stay on the node that holds them.

Every node gives each batch its part of the data, so that all come to the end together. Inside a window of batches a
node's samples change places until its part weighs the same in each of them: exchanges from the plain shuffle, as few as
it takes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chronos_common.data.pace import Pace
from chronos_common.data.plan import Groups, Indices
from chronos_common.data.refine import Table, refine
from chronos_common.errors import ConfigurationError

AUTOMATIC_WINDOW = 32


def checked_groups(groups: Groups, samples: int) -> Groups:
    """Groups as whole numbers.

    Raises:
        ConfigurationError: not one node for each sample, below 0, or a node with samples and no worker.
    """
    of_samples, of_workers = np.asarray(groups.samples), np.asarray(groups.workers)
    if of_samples.shape != (samples,) or of_workers.ndim != 1 or not of_workers.size:
        raise ConfigurationError(
            f"groups have {of_samples.shape} samples and {of_workers.shape} workers; give a node for each of the "
            f"{samples} samples and for each worker"
        )
    if min(of_samples.min(), of_workers.min()) < 0 or not (
        of_samples.dtype.kind == of_workers.dtype.kind == "i"
    ):
        raise ConfigurationError("nodes are whole numbers from 0; give samples and workers such")
    missing = np.setdiff1d(of_samples, of_workers)
    if missing.size:
        raise ConfigurationError(
            f"node {missing[0]} holds samples and has no worker that could take them", node=int(missing[0])
        )
    return Groups(samples=of_samples.astype(np.int64), workers=of_workers.astype(np.int64))


def interleaved(nodes: Indices, order: Indices) -> Indices:
    """The shuffled order with each node's samples spread evenly over it, (N,).

    Args:
        nodes: of the samples, (N,).
        order: shuffled samples, (N,).
    """
    of = nodes[order]
    by_node = np.argsort(of, kind="stable")
    counts = np.bincount(of)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    turn = np.empty(len(order))
    turn[by_node] = (rank + 0.5) / counts[of[by_node]]
    found: Indices = order[np.lexsort((of, turn))]
    return found


def evened(units: NDArray[np.int64], nodes: Indices, order: Indices, batch: int, window: int) -> Indices:
    """The order with each node's part of a batch as heavy as its part of the next, inside windows.

    Args:
        units: costs, (N,).
        nodes: of the samples, (N,).
        order: as :func:`interleaved` made it, (N,).
        batch: samples of one.
        window: batches among which samples change places.
    """
    found = order.copy()
    whole = len(order) // batch
    for start in range(0, whole, window):
        steps = min(window, whole - start)
        part = slice(start * batch, (start + steps) * batch)
        mine = order[part]
        of = nodes[mine]
        for node in np.unique(of):
            places = np.flatnonzero(of == node)
            found[part][places] = mine[places][_even(units[mine[places]], places // batch, steps)]
    return found


def _even(costs: NDArray[np.int64], step: Indices, steps: int) -> Indices:
    """Which sample goes to which place, (n,): steps as workers that keep their counts."""
    starts = np.searchsorted(step, np.arange(steps + 1))
    loads = np.bincount(step, costs.astype(np.float64), minlength=steps).astype(np.int64)
    table = Table(
        slots=np.arange(len(costs))[None], costs=costs[None].copy(), starts=starts[None], loads=loads[None]
    )
    pace = Pace(start=np.zeros(steps, dtype=np.int64), beta=np.ones(steps), equal=True)
    refine(table, pace)
    found: Indices = table.slots[0]
    return found
