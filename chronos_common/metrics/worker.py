"""What a worker reports."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from prometheus_client import CollectorRegistry

from chronos_common.compression import Ledger
from chronos_common.metrics import series
from chronos_common.metrics.collectors import Collectors


class WorkerMetrics:
    """What a worker reports; thread-safe.

    Args:
        registry: where the series go; by default one that nobody reads.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._collectors = Collectors(
            series.WORKER_SERIES, CollectorRegistry() if registry is None else registry
        )
        for operation in ("read", "write"):  # a first failure is an increase only from a zero that was seen
            self._collectors.add(series.WORKER_STATE_FAILURES, 0.0, operation=operation)

    def spent(self, activity: Literal["compute", "wait", "communication"], seconds: float) -> None:
        """Time went by."""
        self._collectors.add(series.WORKER_TIME, seconds, activity=activity)

    def committed(self, outcome: Literal["accepted", "skipped", "duplicate", "refused"]) -> None:
        """A commit has its definitive answer."""
        self._collectors.add(series.WORKER_COMMITS, outcome=outcome)

    def retried(self, reason: str) -> None:
        """A call failed and is sent again; ``reason`` is the error's."""
        self._collectors.add(series.WORKER_RETRIES, reason=reason)

    def diverged(self) -> None:
        """An inner problem did not stay finite."""
        self._collectors.add(series.WORKER_DIVERGED)

    def updated(self, seconds: float, *, work: float) -> None:
        """An update was computed."""
        self._collectors.observe(series.WORKER_UPDATE, seconds)
        if work < 1.0:
            self._collectors.add(series.WORKER_CUT)

    def traffic(self, received: int, sent: int) -> None:
        """Bytes that a call moved."""
        self._collectors.add(series.WORKER_RECEIVED, received)
        self._collectors.add(series.WORKER_SENT, sent)

    def working_on(self, version: int) -> None:
        """A version was checked out."""
        self._collectors.set(series.WORKER_VERSION, version)

    def state_written(self, seconds: float) -> None:
        """The state directory took what is owed."""
        self._collectors.observe(series.WORKER_STATE_WRITE, seconds)

    def state_failed(self, operation: Literal["read", "write"]) -> None:
        """A run's state could not be used, or not be written."""
        self._collectors.add(series.WORKER_STATE_FAILURES, operation=operation)

    def residual(self, norm: float) -> None:
        """What waits to go with the next update."""
        self._collectors.set(series.WORKER_RESIDUAL, norm)

    def ledger(self, ledger: Ledger, *, residual: float, pending: float) -> None:
        """What became of everything that was produced; ``residual`` and ``pending`` are masses."""
        for term, amount in {**asdict(ledger), "residual": residual, "pending": pending}.items():
            self._collectors.set(series.WORKER_LEDGER, amount, term=term)
