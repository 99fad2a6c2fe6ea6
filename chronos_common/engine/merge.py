"""Merging a round's commits into one pseudo-gradient.

First inside each worker, then across workers, in order of arrival:

* hypergradients: ``g_w = Σᵢ work_i·weight_i·g_i / Σᵢ work_i`` and ``ḡ = Σ_w ω_w·g_w / Σ_w ω_w`` with
  ``ω_w = min(1, Σᵢ work_i)``. A worker that did half of its inner loop counts half; one that did it twice
  counts once. The staleness weight is *not* in the denominator: if all commits are equally stale, a
  normalised mean would cancel the decay.
* parameter deltas: increments sum inside a worker, ``d_w = Σᵢ weight_i·d_i``, and are averaged over the
  contributing workers; the pseudo-gradient is ``−d̄``, so that gradient descent with rate 1 adds ``d̄``.

A skip counts in the denominators with zero mass. Only + − × ÷ in a fixed order: the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_common.tensors import Arrays
from chronos_common.versions import PARAMETER_DELTA, Accepted

Array = NDArray[Any]


def merge(buffer: Sequence[Accepted[Arrays]], kind: str) -> dict[str, Array] | None:
    """The round's pseudo-gradient per parameter, or ``None`` for a round of skips only."""
    if all(accepted.commit.update is None for accepted in buffer):
        return None
    by_worker: dict[str, list[Accepted[Arrays]]] = {}
    for accepted in buffer:
        by_worker.setdefault(accepted.commit.worker_id, []).append(accepted)
    deltas = kind == PARAMETER_DELTA
    work = {
        worker: _sum(accepted.commit.work for accepted in commits) for worker, commits in by_worker.items()
    }
    share = {worker: 1.0 if deltas else min(1.0, work[worker]) for worker in by_worker}
    mass = _sum(share.values())
    total: dict[str, Array] = {}
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks what comes out of the step
        for worker, commits in by_worker.items():
            for accepted in commits:
                # Ratios first: each is at most 1, so that the smallest work overflows no reciprocal.
                of_worker = -1.0 if deltas else accepted.commit.work / work[worker]
                _add_scaled(
                    total, accepted.commit.update, accepted.weight * of_worker * (share[worker] / mass)
                )
    return total


def _sum(values: Iterable[float]) -> float:
    """In order, one rounding each: the builtin ``sum`` compensates on some releases of Python."""
    total = 0.0
    for value in values:
        total += value
    return total


def _add_scaled(total: dict[str, Array], update: Arrays | None, scale: float) -> None:
    if update is None:
        return
    for name, value in update.items():
        scaled = np.asarray(value * value.dtype.type(scale))
        total[name] = np.asarray(total[name] + scaled) if name in total else scaled
