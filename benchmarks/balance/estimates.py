"""Speeds from what workers report, as plainly as can be: a moving mean of seconds over cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chronos_common.data import Speeds

_WEIGHT = 0.2
_JUMP = 0.25
"""A report this far from the mean (eight times a noise of 3 %) starts it anew."""


class Estimates:
    """Seconds for one unit of cost, of each worker."""

    def __init__(self) -> None:
        self._beta: dict[str, float] = {}

    def observe(self, worker: str, cost: float, seconds: float) -> None:
        """Takes one report."""
        if cost <= 0:
            return
        now = seconds / cost
        mean = self._beta.get(worker, now)
        jumped = abs(now - mean) > _JUMP * mean
        self._beta[worker] = now if jumped else mean + _WEIGHT * (now - mean)

    def speeds(self, workers: Sequence[str]) -> Speeds:
        """Of these workers; 1 where nothing was reported."""
        return Speeds(alpha=np.zeros(len(workers)), beta=np.array([self._beta.get(w, 1.0) for w in workers]))
