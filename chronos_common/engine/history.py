"""Published versions as watchers see them, gathered from events in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from chronos_common.engine.events import DIVERGED, CommitRecord, Event, Published
from chronos_common.engine.views import MergedCommit, VersionRecord


class VersionHistory:
    """Turns a run's events into one record per published version.

    It is fed every event once, live or from the journal; between two versions it remembers the commits
    of the open round.

    Args:
        kept_times: of so many of the newest versions it remembers when they were published.
        open_commits: of the open round, where the events before are not fed.
        metrics: of the newest version that has any, likewise.
        times: of the newest versions, oldest first, likewise; in unix seconds.
    """

    def __init__(
        self,
        *,
        kept_times: int = 0,
        open_commits: Sequence[CommitRecord] = (),
        metrics: Mapping[str, float] = MappingProxyType({}),
        times: Iterable[float] = (),
    ) -> None:
        self.metrics = metrics
        self._open = tuple(open_commits)
        self._times = deque(times, maxlen=kept_times)

    @property
    def open_commits(self) -> tuple[CommitRecord, ...]:
        """Commits of the open round, in order."""
        return self._open

    @property
    def kept_times(self) -> int:
        """Of how many versions :attr:`times` tells, at most."""
        return self._times.maxlen or 0

    @property
    def times(self) -> tuple[float, ...]:
        """When the newest versions were published, oldest first, in unix seconds."""
        return tuple(self._times)

    def copy(self) -> VersionHistory:
        """One that stays as it is while this one goes on."""
        return VersionHistory(
            kept_times=self.kept_times,
            open_commits=self._open,
            metrics=self.metrics,
            times=self._times,
        )

    def observe(self, event: Event, time: float) -> VersionRecord | None:
        """Takes the next event, journalled at ``time`` (unix seconds); returns a record if it published."""
        if isinstance(event, CommitRecord):
            self._open = (*self._open, event)
        if not isinstance(event, Published):
            return None
        commits, self._open = self._open, ()
        metrics = mean_metrics([commit.metrics for commit in commits])
        if metrics.keys() - {DIVERGED}:  # a version at which everything diverged has measured nothing
            self.metrics = metrics
        self._times.append(time)
        return VersionRecord(
            version=event.version,
            digest=event.digest,
            time=time,
            commits=tuple(_merged(commit) for commit in commits),
            metrics=metrics,
        )


def mean_metrics(reports: Sequence[Mapping[str, float]]) -> dict[str, float]:
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
