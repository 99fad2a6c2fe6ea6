"""Records of the durable store, and its interface.

The store keeps journals: per *stream* (a run, a data plan, a clan) a sequence of entries numbered 1, 2,
3, ... without gaps, whose last number is the stream's *head*. Beside them it keeps workers' incarnations,
snapshots that shorten replay, and samples of metrics. It sees bytes and JSON strings and interprets neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

from chronos_common.errors import ConfigurationError, StoreWriteError

RUN_STREAM: Final = "run"
"""Stream kind of a run's journal; its stream id is the run id."""

DATA_STREAM: Final = "data"
SIZES_STREAM: Final = "data-sizes"
"""Stream kinds of a data plan; their stream id is the plan id."""

CLAN_STREAM: Final = "clan"
"""Stream kind of a clan's journal; its stream id is the clan id."""

PREDICTION_STREAM: Final = "prediction"
"""Stream kind of what was reported to the predictor."""

Observe = Callable[[str, float], None]
"""Called with the name of an operation and its duration in seconds; it must be quick and must not raise.

Names: each write method's (submission to durability) and ``"commit"`` (one transaction of a group of writes).
"""


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """How a durable store behaves.

    Args:
        blob_threshold_bytes: payloads larger than this lie in files beside the database.
        busy_timeout_seconds: how long a statement waits for another process's lock on the database.
        blob_grace_seconds: age that a file must have reached before it is deleted as one that nothing names;
            whoever read the row that named it may still be about to read it.

    Raises:
        ConfigurationError: a negative value.
    """

    blob_threshold_bytes: int = 256 * 1024
    busy_timeout_seconds: float = 5.0
    blob_grace_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("blob_threshold_bytes", "busy_timeout_seconds", "blob_grace_seconds"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"store.{name} is {getattr(self, name)}; it must be at least 0")


def observe_nothing(operation: str, seconds: float) -> None:
    """The default :data:`Observe`."""


@dataclass(frozen=True)
class StreamKey:
    """A journal's address."""

    kind: str
    id: str

    @classmethod
    def of_run(cls, run_id: str) -> StreamKey:
        """The journal of a run."""
        return cls(RUN_STREAM, run_id)

    @classmethod
    def of_data(cls, plan_id: str) -> StreamKey:
        """The journal of a data plan."""
        return cls(DATA_STREAM, plan_id)

    @classmethod
    def of_sizes(cls, plan_id: str) -> StreamKey:
        """The slices of sizes that a data plan was told; never trimmed."""
        return cls(SIZES_STREAM, plan_id)

    @classmethod
    def of_clan(cls, clan_id: str) -> StreamKey:
        """The journal of a clan."""
        return cls(CLAN_STREAM, clan_id)


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """One decision.

    Args:
        seq: position in its stream, from 1.
        kind: what was decided, for the engine.
        time: when, in seconds of the Unix epoch; telemetry, never part of the fold.
        meta: canonical JSON.
        payload: tensors, if the entry has any.
    """

    seq: int
    kind: str
    time: float
    meta: str
    payload: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as listed: its status (the engine's word), configuration (JSON), creation time (Unix seconds).

    ``head`` is the seq of the last journal entry, ``trimmed`` that of the last one that was dropped (0 for none);
    ``counts`` is what :meth:`Store.put_counts` kept. The store maintains them and ignores those given to it.
    """

    run_id: str
    status: str
    config: str
    created_at: float
    head: int = 0
    trimmed: int = 0
    counts: str = ""


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """The current incarnation of a worker, the process (instance) that holds it, and since when (Unix seconds)."""

    worker_id: str
    incarnation: int
    instance_id: str
    registered_at: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One value of a metric that a worker or the coordinator reported for a run."""

    run_id: str
    name: str
    worker_id: str
    version: int
    time: float
    value: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state of a stream after its entry ``seq``: replay may start here."""

    stream: StreamKey
    seq: int
    meta: str
    payload: bytes


class Store(Protocol):
    """A durable store with one writer at a time.

    *Leadership.* :meth:`acquire` must succeed before the first write. Every write carries the epoch that it
    returned; once another coordinator has taken over, each write of the old one fails with
    :class:`~chronos_common.errors.FencedError` and changes nothing.

    *Writes* return at once. The future completes when the write is durable, or with the error that says why
    it is not; writes are applied in the order of the calls, all or nothing each. A future that was cancelled
    while it waited is not applied. A write that fails on its own account
    (:class:`~chronos_common.errors.FencedError`, :class:`~chronos_common.errors.RunExistsError`, a wrong
    ``expected_head``) leaves the others alone. When durability fails or is in doubt (disk full, failed fsync,
    ambiguous commit), all writes of the group fail with :class:`~chronos_common.errors.StoreWriteError` and the
    store is *broken*: it refuses every further write, and the caller closes it, opens another and reloads.

    A future's callbacks run on the thread that completes it (``asyncio.wrap_future`` is safe) and must be quick.

    *Reads* are synchronous, safe from any thread, and see every write whose future has completed.
    """

    def acquire(self, holder: str) -> int:
        """Take leadership; the fencing epoch, larger than any before. A second call returns the same epoch.

        Args:
            holder: who asks, for the error message that others get.

        Raises:
            LeadershipHeldError: another live process leads; the message names it.
            StoreError: the store is read-only or closed.
        """
        ...

    def create_run(self, record: RunRecord, entries: Sequence[JournalEntry] = ()) -> Future[None]:
        """Create a run and its journal with the first entries (seq 1, 2, ...); ``RunExistsError`` if it exists."""
        ...

    def create_stream(self, stream: StreamKey, entries: Sequence[JournalEntry] = ()) -> Future[None]:
        """Create a journal that is no run's with its first entries; ``StoreWriteError`` if it exists."""
        ...

    def append(
        self,
        stream: StreamKey,
        expected_head: int,
        entries: Sequence[JournalEntry],
        *,
        status: str | None = None,
    ) -> Future[None]:
        """Append entries ``expected_head + 1, ...``, and set a run's status.

        ``StoreWriteError`` when the stream does not exist or its head is another.
        """
        ...

    def put_worker(self, record: WorkerRecord) -> Future[None]:
        """Insert or replace a worker; ``StoreWriteError`` if a later incarnation is stored."""
        ...

    def save_snapshot(self, snapshot: Snapshot, *, keep: Sequence[int] | None = None) -> Future[None]:
        """Keep a snapshot; ``StoreWriteError`` if the stream does not exist or its head is lower.

        With ``keep``, of the stream's other snapshots only those at these seqs stay.
        """
        ...

    def trim(self, stream: StreamKey, up_to: int) -> Future[None]:
        """Drop the entries ``1 .. up_to`` of a stream; its head and the seqs of the others stay.

        Without effect where they are gone already. ``StoreWriteError`` if the stream does not exist, or has no
        snapshot at ``up_to`` or later: what is left could not be replayed.
        """
        ...

    def put_counts(self, counts: Mapping[str, str]) -> Future[None]:
        """Keep, by run id, what was counted of runs (JSON), in place of earlier ones.

        ``StoreWriteError``, and nothing is kept, if there is no such run.
        """
        ...

    def add_samples(self, samples: Sequence[Sample]) -> Future[None]:
        """Keep samples, in this order."""
        ...

    def runs(self) -> list[RunRecord]:
        """All runs by creation time, then id."""
        ...

    def run(self, run_id: str) -> RunRecord | None:
        """One run, or None."""
        ...

    def streams(self, kind: str) -> list[str]:
        """Ids of all streams of a kind, sorted."""
        ...

    def entries(self, stream: StreamKey, after: int = 0, limit: int | None = None) -> Iterator[JournalEntry]:
        """Entries ``after + 1, after + 2, ...`` up to the head at the first step, at most ``limit``.

        An unknown stream has none; those of one that was trimmed begin after what was dropped. The iterator holds
        no transaction open between its steps.

        Raises:
            CorruptStateError: a missing entry, or a payload whose blob is missing or does not match its hash.
            StoreError: entries to come were dropped since the first step; begin again.
        """
        ...

    def workers(self) -> list[WorkerRecord]:
        """All workers by id."""
        ...

    def snapshot_seqs(self, stream: StreamKey) -> list[int]:
        """Where the stream has snapshots, the newest first."""
        ...

    def snapshot(self, stream: StreamKey, seq: int) -> Snapshot | None:
        """The snapshot at ``seq``, or None."""
        ...

    def samples(
        self, run_id: str, names: Sequence[str] | None = None, after: float | None = None
    ) -> list[Sample]:
        """Samples of a run in the order of their arrival: only these names, only times later than ``after``."""
        ...

    def close(self) -> None:
        """Finish the writes that wait, give leadership up, release everything. Further calls do nothing."""
        ...


def require_consecutive(stream: StreamKey, expected_head: int, entries: Sequence[JournalEntry]) -> None:
    """Check that the entries are numbered ``expected_head + 1, expected_head + 2, ...``.

    Raises:
        StoreWriteError: they are not.
    """
    for seq, entry in enumerate(entries, start=expected_head + 1):
        if entry.seq != seq:
            raise StoreWriteError(
                f"an entry with seq {entry.seq} where {stream} expects {seq}; number them on"
            )


def require_replayable(stream: StreamKey, up_to: int, snapshots: Iterable[int]) -> None:
    """Check that a stream may lose its entries up to ``up_to``, given where it has snapshots.

    Raises:
        StoreWriteError: no replay could begin after them.
    """
    if not any(seq >= up_to for seq in snapshots):
        raise StoreWriteError(
            f"{stream} has no snapshot at entry {up_to} or later, so that it must keep its journal"
        )
