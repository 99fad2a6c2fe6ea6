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

from collections.abc import Sequence
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
    total: dict[str, Array] = {}
    mass = 0.0
    for commits in by_worker.values():
        work = 0.0
        for accepted in commits:
            work += accepted.commit.work
        share = 1.0 if deltas else min(1.0, work)
        mass += share
        for accepted in commits:
            scale = accepted.weight if deltas else share * (accepted.weight * accepted.commit.work / work)
            _add_scaled(total, accepted.commit.update, scale)
    sign = -1.0 if deltas else 1.0
    return {name: np.asarray(value * value.dtype.type(sign / mass)) for name, value in total.items()}


def _add_scaled(total: dict[str, Array], update: Arrays | None, scale: float) -> None:
    if update is None:
        return
    for name, value in update.items():
        scaled = np.asarray(value * value.dtype.type(scale))
        total[name] = np.asarray(total[name] + scaled) if name in total else scaled
