"""The store without durability: for tests, and for runs inside of one process."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from chronos_common.errors import (
    ChronosError,
    FencedError,
    LeadershipHeldError,
    RunExistsError,
    StoreError,
    StoreWriteError,
)
from chronos_common.store.base import (
    RUN_STREAM,
    JournalEntry,
    Observe,
    RunRecord,
    Sample,
    Snapshot,
    StreamKey,
    WorkerRecord,
    observe_nothing,
    require_consecutive,
    require_replayable,
)


@dataclass
class MemoryDatabase:
    """What several :class:`MemoryStore` share, as several coordinators share a database."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    epoch: int = 0
    holder: str | None = None
    journals: dict[StreamKey, list[JournalEntry]] = field(default_factory=dict)
    trimmed: dict[StreamKey, int] = field(default_factory=dict)
    runs: dict[str, RunRecord] = field(default_factory=dict)
    workers: dict[str, WorkerRecord] = field(default_factory=dict)
    snapshots: dict[StreamKey, dict[int, Snapshot]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)


class MemoryStore:
    """See :class:`~chronos_common.store.base.Store`; every write is complete when its method returns.

    Args:
        database: shared with other stores; a fresh one by default.
        observe: told every duration.
        read_only: refuse leadership.
        exclusive: whether leadership is refused while another store holds it; without it only the fencing
            epoch protects (a seam for tests).
    """

    def __init__(
        self,
        database: MemoryDatabase | None = None,
        *,
        observe: Observe = observe_nothing,
        read_only: bool = False,
        exclusive: bool = True,
    ) -> None:
        self._database = database if database is not None else MemoryDatabase()
        self._observe = observe
        self._read_only = read_only
        self._exclusive = exclusive
        self._epoch = 0
        self._closed = False

    def acquire(self, holder: str) -> int:
        database = self._database
        with database.lock:
            if self._closed or self._read_only:
                raise StoreError(
                    "the store in memory is closed or open for reading only; open it for writing"
                )
            if not self._epoch:
                if self._exclusive and database.holder is not None:
                    raise LeadershipHeldError(
                        f"the store in memory is in use by {database.holder!r}; close that one first",
                        holder=database.holder,
                    )
                database.epoch += 1
                database.holder = holder
                self._epoch = database.epoch
            return self._epoch

    def create_run(self, record: RunRecord, entries: Sequence[JournalEntry] = ()) -> Future[None]:
        def apply() -> None:
            stream = StreamKey.of_run(record.run_id)
            require_consecutive(stream, 0, entries)
            if record.run_id in self._database.runs:
                raise RunExistsError(
                    f"run {record.run_id!r} exists already; choose another id", run_id=record.run_id
                )
            self._database.runs[record.run_id] = dataclasses.replace(record, counts="")
            self._database.journals[stream] = list(entries)

        return self._write("create_run", apply)

    def create_stream(self, stream: StreamKey, entries: Sequence[JournalEntry] = ()) -> Future[None]:
        def apply() -> None:
            require_consecutive(stream, 0, entries)
            if stream in self._database.journals:
                raise StoreWriteError(f"{stream} exists already; append to it")
            self._database.journals[stream] = list(entries)

        return self._write("create_stream", apply)

    def append(
        self,
        stream: StreamKey,
        expected_head: int,
        entries: Sequence[JournalEntry],
        *,
        status: str | None = None,
    ) -> Future[None]:
        def apply() -> None:
            require_consecutive(stream, expected_head, entries)
            journal, head = self._journal(stream), self._head(stream)
            if head != expected_head:
                raise StoreWriteError(
                    f"the head of {stream} is {head}, not {expected_head}; reload before writing",
                    head=head,
                    expected=expected_head,
                )
            if status is not None:
                if stream.kind != RUN_STREAM:
                    raise StoreWriteError(f"{stream} has no status to set; only runs have one")
                run = self._database.runs[stream.id]
                self._database.runs[stream.id] = dataclasses.replace(run, status=status)
            journal.extend(entries)

        return self._write("append", apply)

    def put_worker(self, record: WorkerRecord) -> Future[None]:
        def apply() -> None:
            known = self._database.workers.get(record.worker_id)
            if known is not None and known.incarnation > record.incarnation:
                raise StoreWriteError(
                    f"worker {record.worker_id!r} has incarnation {known.incarnation}, "
                    f"later than {record.incarnation}; reload"
                )
            self._database.workers[record.worker_id] = record

        return self._write("put_worker", apply)

    def save_snapshot(self, snapshot: Snapshot, *, keep: Sequence[int] | None = None) -> Future[None]:
        def apply() -> None:
            head = self._head(snapshot.stream)
            if head < snapshot.seq:
                raise StoreWriteError(
                    f"a snapshot at seq {snapshot.seq} of {snapshot.stream}, whose head is {head}"
                )
            others = self._database.snapshots.get(snapshot.stream, {})
            kept = {seq: other for seq, other in others.items() if keep is None or seq in keep}
            self._database.snapshots[snapshot.stream] = {**kept, snapshot.seq: snapshot}

        return self._write("save_snapshot", apply)

    def trim(self, stream: StreamKey, up_to: int) -> Future[None]:
        def apply() -> None:
            journal, trimmed = self._journal(stream), self._database.trimmed.get(stream, 0)
            require_replayable(stream, up_to, self._database.snapshots.get(stream, {}))
            if up_to > trimmed:
                del journal[: up_to - trimmed]
                self._database.trimmed[stream] = up_to

        return self._write("trim", apply)

    def put_counts(self, counts: Mapping[str, str]) -> Future[None]:
        def apply() -> None:
            for run_id in counts:
                self._journal(StreamKey.of_run(run_id))
            for run_id, text in counts.items():
                run = self._database.runs[run_id]
                self._database.runs[run_id] = dataclasses.replace(run, counts=text)

        return self._write("put_counts", apply)

    def add_samples(self, samples: Sequence[Sample]) -> Future[None]:
        def apply() -> None:
            for sample in samples:
                self._journal(StreamKey.of_run(sample.run_id))
            self._database.samples.extend(samples)

        return self._write("add_samples", apply)

    def runs(self) -> list[RunRecord]:
        with self._reading():
            records = [self._with_head(record) for record in self._database.runs.values()]
        return sorted(records, key=lambda record: (record.created_at, record.run_id))

    def run(self, run_id: str) -> RunRecord | None:
        with self._reading():
            record = self._database.runs.get(run_id)
            return None if record is None else self._with_head(record)

    def streams(self, kind: str) -> list[str]:
        with self._reading():
            return sorted(stream.id for stream in self._database.journals if stream.kind == kind)

    def entries(self, stream: StreamKey, after: int = 0, limit: int | None = None) -> Iterator[JournalEntry]:
        with self._reading():
            trimmed = self._database.trimmed.get(stream, 0)
            first = max(after - trimmed, 0)
            selected = self._database.journals.get(stream, [])[
                first : None if limit is None else first + limit
            ]
        yield from selected

    def workers(self) -> list[WorkerRecord]:
        with self._reading():
            return sorted(self._database.workers.values(), key=lambda record: record.worker_id)

    def snapshot_seqs(self, stream: StreamKey) -> list[int]:
        with self._reading():
            return sorted(self._database.snapshots.get(stream, {}), reverse=True)

    def snapshot(self, stream: StreamKey, seq: int) -> Snapshot | None:
        with self._reading():
            return self._database.snapshots.get(stream, {}).get(seq)

    def samples(
        self, run_id: str, names: Sequence[str] | None = None, after: float | None = None
    ) -> list[Sample]:
        with self._reading():
            return [
                sample
                for sample in self._database.samples
                if sample.run_id == run_id
                and (names is None or sample.name in names)
                and (after is None or sample.time > after)
            ]

    def close(self) -> None:
        with self._database.lock:
            if not self._closed and self._epoch == self._database.epoch:
                self._database.holder = None
            self._closed = True

    @contextmanager
    def _reading(self) -> Iterator[None]:
        if self._closed:
            raise StoreError("the store in memory is closed; open it again")
        with self._database.lock:
            yield

    def _write(self, operation: str, apply: Callable[[], None]) -> Future[None]:
        started = time.perf_counter()
        future: Future[None] = Future()
        try:
            with self._database.lock:
                self._require_leader()
                apply()
        except ChronosError as error:
            future.set_exception(error)
        else:
            future.set_result(None)
        self._observe(operation, time.perf_counter() - started)
        return future

    def _require_leader(self) -> None:
        if self._closed or self._read_only:
            raise StoreWriteError("the store in memory is closed or open for reading only")
        if not self._epoch or self._epoch != self._database.epoch:
            raise FencedError(
                f"this store writes under epoch {self._epoch}, but the current one is {self._database.epoch}; "
                "acquire leadership first, or stop and reload",
                epoch=self._epoch,
                current=self._database.epoch,
            )

    def _journal(self, stream: StreamKey) -> list[JournalEntry]:
        if stream not in self._database.journals:
            raise StoreWriteError(f"{stream} does not exist; create it first")
        return self._database.journals[stream]

    def _head(self, stream: StreamKey) -> int:
        return self._database.trimmed.get(stream, 0) + len(self._journal(stream))

    def _with_head(self, record: RunRecord) -> RunRecord:
        stream = StreamKey.of_run(record.run_id)
        return dataclasses.replace(
            record, head=self._head(stream), trimmed=self._database.trimmed.get(stream, 0)
        )
