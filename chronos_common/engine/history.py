"""Published versions as watchers see them, gathered from events in order."""

from __future__ import annotations

from collections.abc import Mapping

from chronos_common.engine.events import CommitRecord, Event, Published
from chronos_common.engine.views import MergedCommit, VersionRecord


class VersionHistory:
    """Turns a run's events into one record per published version.

    It is fed every event once, live or from the journal; between two versions it remembers the commits
    of the open round.
    """

    def __init__(self) -> None:
        self._open: list[CommitRecord] = []

    def observe(self, event: Event, time: float) -> VersionRecord | None:
        """Takes the next event, journalled at ``time`` (unix seconds); returns a record if it published."""
        if isinstance(event, CommitRecord):
            self._open.append(event)
        if not isinstance(event, Published):
            return None
        commits, self._open = self._open, []
        return VersionRecord(
            version=event.version,
            digest=event.digest,
            time=time,
            commits=tuple(_merged(commit) for commit in commits),
            metrics=mean_metrics([commit.metrics for commit in commits]),
        )


def mean_metrics(reports: list[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every metric over the reports that hold it."""
    values: dict[str, list[float]] = {}
    for report in reports:
        for name, value in report.items():
            values.setdefault(name, []).append(value)
    return {name: sum(found) / len(found) for name, found in sorted(values.items())}


def _merged(commit: CommitRecord) -> MergedCommit:
    return MergedCommit(
        worker_id=commit.worker_id,
        seq=commit.seq,
        staleness=commit.staleness,
        weight=commit.weight,
        work=commit.work,
        skipped=commit.payload is None,
    )
