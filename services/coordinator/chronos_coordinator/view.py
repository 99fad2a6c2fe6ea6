"""A run as clients see it, assembled from what is durable, who is present, and what was counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chronos_common.engine import UNREADABLE, PaceView, RunConfig, RunState, RunView, WorkerView
from chronos_common.store import RunRecord


@dataclass(kw_only=True)
class Traffic:
    """Bytes of gRPC messages of one run, and what dense transfers would have taken."""

    received: int = 0
    sent: int = 0
    dense: int = 0

    def add(self, *, received: int, sent: int, dense: int) -> None:
        """Adds one call."""
        self.received += received
        self.sent += sent
        self.dense += dense


def run_view(
    record: RunRecord,
    state: RunState,
    *,
    live: Sequence[str],
    metrics: Mapping[str, float],
    refused: int,
    duplicate: int,
    traffic: Traffic,
    pace: Callable[[str], PaceView],
) -> RunView:
    """Puts a run's view together."""
    workers = tuple(
        _worker_view(
            pace(worker_id),
            worker_id=worker_id,
            incarnation=chain.incarnation,
            live=worker_id in live,
            accepted=chain.accepted,
            effective_weight=chain.effective_weight,
            compute_seconds=state.totals.timing.get(worker_id, {}).get("compute", 0.0),
            wait_seconds=state.totals.timing.get(worker_id, {}).get("wait", 0.0),
            communication_seconds=state.totals.timing.get(worker_id, {}).get("communication", 0.0),
        )
        for worker_id, chain in sorted(state.rounds.chains.items())
    )
    return RunView(
        run_id=record.run_id,
        config=state.config,
        status=state.status,
        reason=state.reason,
        version=state.version,
        digest=state.digest,
        created_at=record.created_at,
        accepted=state.totals.accepted,
        refused=refused,
        skipped=state.totals.skipped,
        duplicate=duplicate,
        staleness=dict(state.totals.staleness),
        bytes_received=traffic.received,
        bytes_sent=traffic.sent,
        bytes_dense=traffic.dense,
        workers=workers,
        metrics=dict(metrics),
        residuals_lost=state.account.residuals_lost,
        warm_from=state.warm_from,
    )


def _worker_view(pace: PaceView, **known: Any) -> WorkerView:
    expected = pace.expected
    return WorkerView(
        **known,
        predicted_seconds=pace.predicted_seconds,
        actual_seconds=pace.actual_seconds,
        next_seconds=(0.0, 0.0) if expected is None else (expected.p50, expected.p95),
        share=pace.share,
        straggling=pace.straggling,
    )


def unreadable_view(record: RunRecord, problem: str) -> RunView:
    """What is known of a run whose journal is damaged: its definition, and what is wrong.

    Raises:
        ConfigurationError: not even the definition can be read.
    """
    return RunView(
        run_id=record.run_id,
        config=RunConfig.from_json(record.config),
        status=UNREADABLE,
        reason=problem,
        version=0,
        digest="",
        created_at=record.created_at,
        accepted=0,
        refused=0,
        skipped=0,
        duplicate=0,
        staleness={},
        bytes_received=0,
        bytes_sent=0,
        bytes_dense=0,
        workers=(),
        metrics={},
    )
