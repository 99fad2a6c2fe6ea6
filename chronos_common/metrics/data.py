"""What the coordinator reports of data plans."""

from __future__ import annotations

import math
from collections.abc import Mapping

from chronos_common.metrics import data_series as series
from chronos_common.metrics.collectors import Collectors


class DataMetrics:
    """Series of data plans; a member's go when it is gone.

    Args:
        collectors: of the coordinator's table.
    """

    def __init__(self, collectors: Collectors) -> None:
        self._collectors = collectors
        self._shown: dict[str, set[str]] = {}

    def dealt(self, plan: str, *, shares: int, samples: int, part: int, seconds: float) -> None:
        """A turn became durable; ``seconds`` is what its planning took."""
        self._collectors.add(
            series.DATA_SHARES, shares, plan=plan, outcome="redelivered" if part else "delivered"
        )
        self._collectors.add(series.DATA_RETURNED, samples if part else 0, plan=plan)
        self._collectors.observe(series.DATA_PLANNING, seconds, plan=plan)

    def changed(
        self,
        plan: str,
        *,
        epoch: int,
        finished: int,
        imbalance: float | None,
        speeds: Mapping[str, tuple[float, float]],
    ) -> None:
        """How a plan stands; ``speeds`` are alpha and beta of its members."""
        self._collectors.set(series.DATA_EPOCH, epoch, plan=plan)
        self._collectors.set(series.DATA_FINISHED, finished, plan=plan)
        self._collectors.set(series.DATA_MEMBERS, len(speeds), plan=plan)
        self._collectors.set(series.DATA_IMBALANCE, math.nan if imbalance is None else imbalance, plan=plan)
        for worker, (alpha, beta) in speeds.items():
            self._collectors.set(series.DATA_ALPHA, alpha, plan=plan, worker=worker)
            self._collectors.set(series.DATA_BETA, beta, plan=plan, worker=worker)
        for gone in self._shown.get(plan, set()) - speeds.keys():
            self._collectors.forget(plan=plan, worker=gone)
        self._shown[plan] = set(speeds)
