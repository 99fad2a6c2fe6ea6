"""What the coordinator reports."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from chronos_common.errors import RunNotActiveError
from chronos_common.metrics import pace_series, series
from chronos_common.metrics.clan import ClanMetrics
from chronos_common.metrics.collectors import Collectors
from chronos_common.metrics.data import DataMetrics

SHOWN_ENDED_RUNS: Final = 20
"""Ended runs whose series stay: a short run would be gone before anybody reads it."""

MAX_ENDED_RUNS: Final = 10_000
"""Forgotten runs that are remembered, so that late requests for them do not bring their labels back."""


ACTIVITIES: Final = ("compute", "wait", "communication")

COMMIT_OUTCOMES: Final = ("accepted", "skipped", "duplicate", "refused", "late")
MEMORY_EVENTS: Final = ("stored", "evicted", "hits", "predictions", "failures", "shortened", "entered")
SNAPSHOT_OUTCOMES: Final = ("kept", "failed")


class CoordinatorMetrics:
    """What the coordinator reports; thread-safe. ``data`` is for data plans, ``clans`` for clans.

    Args:
        registry: where the series go; one registry per service object.
        clock: unix seconds.
    """

    def __init__(self, registry: CollectorRegistry, *, clock: Callable[[], float] = time.time) -> None:
        self._collectors = Collectors(series.COORDINATOR_SERIES, registry)
        self.data = DataMetrics(self._collectors)
        self.clans = ClanMetrics(self._collectors)
        self._clock = clock
        self._active: set[str] = set()
        self._shown: dict[str, None] = {}
        self._ended: dict[str, None] = {}
        self._weights: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        for unknown in (series.STORE_FREE, series.STORE_CAPACITY):
            self._collectors.set(unknown, math.nan)

    def serving(
        self,
        run: str,
        *,
        version: int,
        max_staleness: int,
        lag_limit: float | None = None,
        published_at: float | None = None,
    ) -> None:
        """An active run was created or read back.

        Args:
            run: the run.
            version: its newest one.
            max_staleness: its bound, in versions.
            lag_limit: above which the density guard acts; ``None`` without one.
            published_at: when that version was published, in unix seconds; ``None`` if it never was.
        """
        if run in self._ended:
            return
        self._active.add(run)
        self._collectors.set(series.RUN_ACTIVE, 1, run=run)
        self._collectors.set(series.VERSION, version, run=run)
        self._collectors.set(
            series.LAST_VERSION, self._clock() if published_at is None else published_at, run=run
        )
        self._collectors.set(series.MAX_STALENESS, max_staleness, run=run)
        for counted, outcomes in ((series.COMMITS, COMMIT_OUTCOMES), (series.SNAPSHOTS, SNAPSHOT_OUTCOMES)):
            for outcome in outcomes:  # a first failure is an increase only from a zero that was seen
                self._collectors.add(counted, 0.0, run=run, outcome=outcome)
        if lag_limit is not None:
            self._collectors.set(series.LAG_LIMIT, lag_limit, run=run)

    def found_ended(self, run: str) -> None:
        """A run that was read back has ended; it may be one that was active when it was last seen."""
        if run in self._active:
            self.run_ended(run)

    def published(self, run: str, version: int, outer_loss: float | None = None) -> None:
        """A version became durable; with the mean outer loss of its commits, where they measured one."""
        run = self._label(run)
        self._collectors.add(series.VERSIONS, run=run)
        self._collectors.set(series.VERSION, version, run=run)
        self._collectors.set(series.LAST_VERSION, self._clock(), run=run)
        if outer_loss is not None:
            self._collectors.set(series.OUTER_LOSS, outer_loss, run=run)

    def accepted(
        self,
        run: str,
        worker: str,
        *,
        staleness: int,
        skipped: bool,
        timing: Mapping[str, float],
        residual_lost: bool = False,
    ) -> None:
        """A commit became durable.

        Args:
            run: the run.
            worker: who sent it.
            staleness: in versions.
            skipped: it carried no update.
            timing: seconds by activity, as the worker reported them: ``compute`` and so on, with or without
                the suffix ``_seconds``.
            residual_lost: it declared what its worker had owed before as lost.
        """
        run = self._label(run)
        worker = worker if run else ""
        self._collectors.add(series.COMMITS, run=run, outcome="skipped" if skipped else "accepted")
        self._collectors.observe(series.STALENESS, staleness, run=run)
        self._collectors.add(series.RESIDUALS_LOST, float(residual_lost), run=run)
        for activity in ACTIVITIES:
            seconds = timing.get(activity, timing.get(f"{activity}_seconds", 0.0))
            self._collectors.add(series.REPORTED_TIME, seconds, run=run, worker=worker, activity=activity)

    def paced(
        self, run: str, worker: str, *, predicted: float, actual: float, straggling: bool, share: float
    ) -> None:
        """A commit became durable: seconds of its work, as predicted (0 for not at all) and as they were."""
        run = self._label(run)
        if not (run and actual):
            return
        self._collectors.set(pace_series.ACTUAL_SECONDS, actual, run=run, worker=worker)
        self._collectors.set(pace_series.STRAGGLING, float(straggling), run=run, worker=worker)
        self._collectors.set(pace_series.WORK_SHARE, share, run=run, worker=worker)
        if predicted:
            self._collectors.set(pace_series.PREDICTED_SECONDS, predicted, run=run, worker=worker)
            self._collectors.observe(pace_series.PREDICTION_ERROR, abs(actual - predicted), run=run)

    def influence(self, run: str, effective_weights: Mapping[str, float]) -> None:
        """A version became durable, after which workers' effective weights are these, from the run's beginning."""
        run = self._label(run)
        for worker, total in effective_weights.items() if run else ():
            with self._lock:
                more = total - self._weights.get((run, worker), 0.0)
                self._weights[run, worker] = total
            self._collectors.add(series.EFFECTIVE_WEIGHT, max(0.0, more), run=run, worker=worker)

    def ledger(self, run: str, terms: Mapping[str, float]) -> None:
        """What became of everything that was accepted, by term."""
        run = self._label(run)
        for term, amount in terms.items():
            self._collectors.set(series.LEDGER, amount, run=run, term=term)

    def downlink(
        self, run: str, *, residual_norm: float, lag_ratio: float, density: float, rate_scale: float
    ) -> None:
        """How the published value follows the master."""
        run = self._label(run)
        self._collectors.set(series.RESIDUAL, residual_norm, run=run)
        self._collectors.set(series.LAG, lag_ratio, run=run)
        self._collectors.set(series.DENSITY, density, run=run)
        self._collectors.set(series.RATE_SCALE, rate_scale, run=run)

    def memory(
        self, run: str, *, entries: int, size_bytes: int, cosine: float, events: Mapping[str, float]
    ) -> None:
        """What a run remembers; ``events`` are counts by name since the run's beginning."""
        run = self._label(run)
        self._collectors.set(series.MEMORY_ENTRIES, entries, run=run)
        self._collectors.set(series.MEMORY_BYTES, size_bytes, run=run)
        self._collectors.set(series.MEMORY_COSINE, cosine, run=run)
        for event in MEMORY_EVENTS:
            self._collectors.set(series.MEMORY_EVENTS, events.get(event, 0.0), run=run, event=event)

    def refused(self, run: str, reason: str) -> None:
        """A commit was refused; one that came after its run's end is late, which nobody did wrong."""
        run = self._label(run)
        outcome = "late" if reason == RunNotActiveError.reason else "refused"
        self._collectors.add(series.COMMITS, run=run, outcome=outcome)
        self._collectors.add(series.REFUSALS, run=run, reason=reason)

    def duplicate(self, run: str) -> None:
        """A repeated commit got its stored answer."""
        self._collectors.add(series.COMMITS, run=self._label(run), outcome="duplicate")

    def in_flight(self, run: str, leases: int) -> None:
        """Unexpired leases now."""
        self._collectors.set(series.IN_FLIGHT, leases, run=self._label(run))

    def lease(self, run: str, seconds: float) -> None:
        """Length of a lease that is given now."""
        self._collectors.set(series.LEASE, seconds, run=self._label(run))

    def waiting(self, run: str, checkouts: int) -> None:
        """Checkouts that wait now."""
        self._collectors.set(series.WAITING, checkouts, run=self._label(run))

    def live_workers(self, workers: int) -> None:
        """Workers alive now."""
        self._collectors.set(series.LIVE_WORKERS, workers)

    def worker_lost(self) -> None:
        """A worker fell silent."""
        self._collectors.add(series.WORKERS_LOST)

    def store_on(self, folder: Path) -> None:
        """The store is on the file system of this folder, whose room is looked at on every scrape."""
        for followed, field in ((series.STORE_FREE, "free"), (series.STORE_CAPACITY, "total")):
            self._collectors.follow(followed, partial(_disk, folder, field))

    def traffic(self, run: str, received: int, sent: int, dense_equivalent: int) -> None:
        """Bytes that a call moved, and would have moved."""
        run = self._label(run)
        for declared, amount in (
            (series.RECEIVED, received),
            (series.SENT, sent),
            (series.DENSE, dense_equivalent),
        ):
            self._collectors.add(declared, amount, run=run)

    def store_write(self, operation: str, seconds: float) -> None:
        """A write to the store became durable; fits the store's ``observe``."""
        self._collectors.observe(series.STORE_WRITE, seconds, operation=operation)

    def snapshot(self, run: str, kept: bool) -> None:
        """A run's state was written down, or could not be."""
        self._collectors.add(series.SNAPSHOTS, run=self._label(run), outcome="kept" if kept else "failed")

    def rpc(self, method: str, code: str, seconds: float) -> None:
        """A call ended. ``method`` is a method of ours, never what a client made up."""
        self._collectors.observe(series.RPC, seconds, method=method, code=code)

    def wanted_workers(self, workers: int) -> None:
        """Workers that the active runs ask for now."""
        self._collectors.set(series.WANTED_WORKERS, workers)

    def run_ended(self, run: str) -> None:
        """Keeps the run's series until enough others have ended, then removes its labels."""
        with self._lock:
            if run in self._active:
                self._active.remove(run)
                self._collectors.set(series.RUN_ACTIVE, 0, run=run)
            self._shown[run] = None
            if len(self._shown) <= SHOWN_ENDED_RUNS:
                return
            forgotten = next(iter(self._shown))
            del self._shown[forgotten]
            self._ended[forgotten] = None
            self._weights = {key: total for key, total in self._weights.items() if key[0] != forgotten}
            if len(self._ended) > MAX_ENDED_RUNS:
                del self._ended[next(iter(self._ended))]
        self._collectors.forget(run=forgotten)

    def _label(self, run: str) -> str:
        return "" if run in self._ended else run


def _disk(folder: Path, field: str) -> float:
    """A figure of the file system; NaN rather than a scrape that fails."""
    try:
        return float(getattr(shutil.disk_usage(folder), field))
    except OSError:
        return math.nan
