"""What clients read: runs, published versions, metrics. From the coordinator, so hardly checked."""

from __future__ import annotations

from collections.abc import Iterable

from chronos_common.engine.verify import VerifyReport
from chronos_common.engine.views import MergedCommit, MetricSample, RunView, VersionRecord, WorkerView
from chronos_common.errors import InvalidRequestError
from chronos_common.pb.chronos.v1 import coordinator_pb2, metrics_pb2, run_pb2
from chronos_common.wire.convert import scalars
from chronos_common.wire.convert.config import config_from_pb, config_to_pb

MAX_SAMPLES = 10_000
"""Samples in one ReportMetrics or QueryMetrics."""


def run_to_pb(view: RunView) -> run_pb2.Run:
    """A run."""
    return run_pb2.Run(
        run_id=view.run_id,
        config=config_to_pb(view.config),
        status=scalars.status_to_pb(view.status),
        version=view.version,
        digest=view.digest,
        create_time=scalars.time_to_pb(view.created_at),
        commits=run_pb2.CommitCounts(
            accepted=view.accepted,
            refused=view.refused,
            skipped=view.skipped,
            duplicate=view.duplicate,
            residuals_lost=view.residuals_lost,
        ),
        staleness=dict(view.staleness),
        traffic=run_pb2.TrafficCounts(
            received=view.bytes_received, sent=view.bytes_sent, dense_equivalent=view.bytes_dense
        ),
        workers=[_worker_to_pb(worker) for worker in view.workers],
        metrics=dict(view.metrics),
        status_reason=view.reason,
        warm_from=view.warm_from,
    )


def run_from_pb(message: run_pb2.Run) -> RunView:
    """A run."""
    return RunView(
        run_id=message.run_id,
        config=config_from_pb(message.config),
        status=scalars.status_from_pb(message.status),
        reason=message.status_reason,
        version=message.version,
        digest=message.digest,
        created_at=scalars.time_from_pb(message.create_time, "create_time"),
        accepted=message.commits.accepted,
        refused=message.commits.refused,
        skipped=message.commits.skipped,
        duplicate=message.commits.duplicate,
        residuals_lost=message.commits.residuals_lost,
        staleness=dict(sorted(message.staleness.items())),
        bytes_received=message.traffic.received,
        bytes_sent=message.traffic.sent,
        bytes_dense=message.traffic.dense_equivalent,
        workers=tuple(_worker_from_pb(worker) for worker in message.workers),
        metrics=dict(sorted(message.metrics.items())),
        warm_from=message.warm_from,
    )


def event_to_pb(record: VersionRecord) -> run_pb2.VersionEvent:
    """A published version."""
    return run_pb2.VersionEvent(
        version=record.version,
        digest=record.digest,
        publish_time=scalars.time_to_pb(record.time),
        commits=[
            run_pb2.MergedCommit(
                worker_id=commit.worker_id,
                seq=commit.seq,
                staleness=commit.staleness,
                weight=commit.weight,
                work=commit.work,
                skipped=commit.skipped,
            )
            for commit in record.commits
        ],
        metrics=dict(record.metrics),
    )


def event_from_pb(message: run_pb2.VersionEvent) -> VersionRecord:
    """A published version."""
    return VersionRecord(
        version=message.version,
        digest=message.digest,
        time=scalars.time_from_pb(message.publish_time, "publish_time"),
        commits=tuple(
            MergedCommit(
                worker_id=commit.worker_id,
                seq=commit.seq,
                staleness=commit.staleness,
                weight=commit.weight,
                work=commit.work,
                skipped=commit.skipped,
            )
            for commit in message.commits
        ),
        metrics=dict(sorted(message.metrics.items())),
    )


def report_to_pb(report: VerifyReport) -> coordinator_pb2.VerifyRunResponse:
    """What a replay found."""
    return coordinator_pb2.VerifyRunResponse(
        clean=report.clean,
        versions=report.versions,
        entries=report.entries,
        problem=report.problem,
        from_version=report.from_version,
        from_entry=report.from_entry,
        snapshots=report.snapshots,
    )


def report_from_pb(message: coordinator_pb2.VerifyRunResponse) -> VerifyReport:
    """What a replay found."""
    return VerifyReport(
        clean=message.clean,
        versions=message.versions,
        entries=message.entries,
        problem=message.problem,
        from_version=message.from_version,
        from_entry=message.from_entry,
        snapshots=message.snapshots,
    )


def sample_to_pb(sample: MetricSample) -> metrics_pb2.MetricSample:
    """One value of a series."""
    return metrics_pb2.MetricSample(
        name=sample.name,
        value=sample.value,
        version=sample.version,
        worker_id=sample.worker_id,
        time=scalars.time_to_pb(sample.time) if sample.time else None,
    )


def samples_from_pb(messages: Iterable[metrics_pb2.MetricSample]) -> list[MetricSample]:
    """Values of series, checked as those of a request.

    Raises:
        InvalidRequestError: too many, or a name, version or time out of range.
        NonFiniteError: NaN or an infinity.
    """
    samples = [_sample_from_pb(message) for message in messages]
    if len(samples) > MAX_SAMPLES:
        raise InvalidRequestError(
            f"{len(samples)} samples in one call; at most {MAX_SAMPLES}", field="samples"
        )
    return samples


def _sample_from_pb(message: metrics_pb2.MetricSample) -> MetricSample:
    scalars.name_from_pb(message.name, "samples.name")
    scalars.require_finite_number(message.value, f"metric {message.name!r}", "samples.value")
    return MetricSample(
        name=message.name,
        value=message.value,
        version=scalars.count_from_pb(message.version, "samples.version"),
        worker_id=scalars.name_from_pb(message.worker_id, "samples.worker_id", optional=True),
        time=scalars.time_from_pb(message.time, "samples.time"),
    )


def _worker_to_pb(worker: WorkerView) -> run_pb2.WorkerStatus:
    return run_pb2.WorkerStatus(
        worker_id=worker.worker_id,
        incarnation=worker.incarnation,
        live=worker.live,
        accepted=worker.accepted,
        effective_weight=worker.effective_weight,
        compute_seconds=worker.compute_seconds,
        wait_seconds=worker.wait_seconds,
        communication_seconds=worker.communication_seconds,
        actual_seconds=worker.actual_seconds,
        predicted_seconds=worker.predicted_seconds,
        next_p50_seconds=worker.next_seconds[0],
        next_p95_seconds=worker.next_seconds[1],
        work_share=worker.share,
        straggling=worker.straggling,
    )


def _worker_from_pb(message: run_pb2.WorkerStatus) -> WorkerView:
    return WorkerView(
        worker_id=message.worker_id,
        incarnation=message.incarnation,
        live=message.live,
        accepted=message.accepted,
        effective_weight=message.effective_weight,
        compute_seconds=message.compute_seconds,
        wait_seconds=message.wait_seconds,
        communication_seconds=message.communication_seconds,
        actual_seconds=message.actual_seconds,
        predicted_seconds=message.predicted_seconds,
        next_seconds=(message.next_p50_seconds, message.next_p95_seconds),
        share=message.work_share or 1.0,
        straggling=message.straggling,
    )
