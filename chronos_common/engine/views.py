"""Requests and answers of the engine and of the coordinator around it: plain data, no protobuf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chronos_common.engine.config import RunConfig
from chronos_common.outer.memory import Counts, LossTrend


@dataclass(frozen=True, kw_only=True)
class CheckoutQuery:
    """A request for a version.

    Attributes:
        run_id: the run; empty is any active run.
        worker_id: who asks; empty reads without a lease.
        incarnation: which process of it.
        known: version that the client holds, or ``None``.
        min_version: wait for a version of at least this number.
        wait_seconds: how long the answer may take.
        except_runs: runs to leave out where ``run_id`` is empty.
        typical_seconds: of the worker's probed machine; 0 for one that was not; see ``prediction.machine``.
    """

    run_id: str
    worker_id: str = ""
    incarnation: int = 0
    known: int | None = None
    min_version: int = 0
    wait_seconds: float = 0.0
    except_runs: tuple[str, ...] = ()
    typical_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class VersionPart:
    """One payload of a checkout: a snapshot of ``version``, or what leads to it from the version before."""

    version: int
    is_delta: bool
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class CheckoutAnswer:
    """A version handed out.

    Attributes:
        run_id: the run.
        version: the version.
        digest: of its value.
        not_modified: the client holds it already.
        parts: one snapshot, or deltas to be applied one by one to the version that the client holds; none
            when that has the same value.
        work_seconds: time until the commit is due; 0 without a lease.
        shard: this worker's share of the data, (index, count).
        last_applied: where the worker's chain stands.
        applied_by: incarnation that sent that commit; 0 for none.
        status: the run's.
        dense_bytes: size of the value as a dense payload.
        work_share: how much of the inner loop is to be done, in (0, 1].
    """

    run_id: str
    version: int
    digest: str
    not_modified: bool
    parts: tuple[VersionPart, ...]
    work_seconds: float
    shard: tuple[int, int]
    last_applied: int
    status: str
    dense_bytes: int
    applied_by: int = 0
    work_share: float = 1.0

    @property
    def snapshot(self) -> bytes | None:
        """The whole value, if that is what was handed out."""
        return snapshot_of(self.parts)


def snapshot_of(parts: Sequence[VersionPart]) -> bytes | None:
    """The payload of the only part, if it is a snapshot."""
    return parts[0].payload if len(parts) == 1 and not parts[0].is_delta else None


@dataclass(frozen=True, kw_only=True)
class CommitQuery:
    """A commit as it arrived. ``payload`` is ``None`` for a skip. Seconds in ``timing``.

    ``residual_lost`` declares that what the worker owed before it, if anything, is lost.
    """

    worker_id: str
    incarnation: int
    seq: int
    prev_applied: int
    base: int
    kind: str
    work: float
    payload: bytes | None
    samples: int = 0
    tasks: int = 1
    metrics: Mapping[str, float] = field(default_factory=dict)
    timing: Mapping[str, float] = field(default_factory=dict)
    residual_lost: bool = False


@dataclass(frozen=True, kw_only=True)
class CommitAnswer:
    """What became of a commit; it is durable. ``version`` is the newest one when the answer was made."""

    staleness: int
    weight: float
    version: int
    duplicate: bool
    last_applied: int
    status: str
    dense_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class RegistrationAnswer:
    """A worker process's incarnation, and the last applied seq of its chain in every active run."""

    incarnation: int
    chains: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class MergedCommit:
    """A commit's part in a version."""

    worker_id: str
    seq: int
    staleness: int
    weight: float
    work: float
    skipped: bool


@dataclass(frozen=True, kw_only=True)
class VersionRecord:
    """A published version as watchers see it; ``time`` in unix seconds."""

    version: int
    digest: str
    time: float
    commits: tuple[MergedCommit, ...]
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """One worker as a run sees it; times in seconds, as it reported them.

    ``predicted_seconds`` and ``actual_seconds`` are of its last piece of work, from checkout to commit;
    ``next_seconds`` (p50, p95) and ``share`` of its next one; 0 where nothing is known.
    """

    worker_id: str
    incarnation: int
    live: bool
    accepted: int
    effective_weight: float
    compute_seconds: float
    wait_seconds: float
    communication_seconds: float
    predicted_seconds: float = 0.0
    actual_seconds: float = 0.0
    next_seconds: tuple[float, float] = (0.0, 0.0)
    share: float = 1.0
    straggling: bool = False


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run as clients see it. ``created_at`` in unix seconds; traffic in bytes of gRPC messages."""

    run_id: str
    config: RunConfig
    status: str
    reason: str
    version: int
    digest: str
    created_at: float
    accepted: int
    refused: int
    skipped: int
    duplicate: int
    staleness: Mapping[int, int]
    bytes_received: int
    bytes_sent: int
    bytes_dense: int
    workers: tuple[WorkerView, ...]
    metrics: Mapping[str, float]
    residuals_lost: int = 0
    warm_from: str = ""


@dataclass(frozen=True, kw_only=True)
class MemoryView:
    """A run's memory as clients see it; ``forbidden`` holds version, radius and reason of each failed place."""

    entries: int
    size_bytes: int
    max_entries: int
    max_bytes: int
    counts: Counts
    mean_cosine: float
    trend: LossTrend
    forbidden: tuple[tuple[int, float, str], ...]


@dataclass(frozen=True, kw_only=True)
class MetricSample:
    """One value of one series; ``time`` in unix seconds, 0 for "at arrival"."""

    name: str
    value: float
    version: int = 0
    worker_id: str = ""
    time: float = 0.0
