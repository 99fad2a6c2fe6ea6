"""The durable store on an SQL database."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, select

from chronos_common.errors import CorruptStateError, FencedError, StoreError, StoreWriteError
from chronos_common.store import writes
from chronos_common.store.base import (
    RUN_STREAM,
    JournalEntry,
    Observe,
    RunRecord,
    Sample,
    Snapshot,
    StoreOptions,
    StreamKey,
    WorkerRecord,
    observe_nothing,
)
from chronos_common.store.blobs import BlobDirectory
from chronos_common.store.dialect import Database
from chronos_common.store.tables import journal, runs, samples, snapshots, streams, workers
from chronos_common.store.writer import Apply, GroupWriter, Landed

_PAGE_ROWS: Final = 64


class SqlStore:
    """See :class:`~chronos_common.store.base.Store`; ``open_store`` builds it and brings the schema up to date.

    Args:
        database: an open database with this release's schema.
        observe: told every duration.
        options: see :class:`~chronos_common.store.base.StoreOptions`.
        read_only: refuse leadership.
        blobs: instead of the database's own directory (a seam for tests).
    """

    def __init__(
        self,
        database: Database,
        *,
        observe: Observe = observe_nothing,
        options: StoreOptions | None = None,
        read_only: bool = False,
        blobs: BlobDirectory | None = None,
    ) -> None:
        self._database = database
        self._observe = observe
        self._options = options or StoreOptions()
        self._read_only = read_only
        self._blobs = blobs or BlobDirectory(database.blobs)
        self._leadership = threading.Lock()
        self._writer: GroupWriter | None = None
        self._epoch = 0
        self._closed = False

    def acquire(self, holder: str) -> int:
        with self._leadership:
            if self._closed or self._read_only:
                state = "closed" if self._closed else "open for reading only"
                raise StoreError(f"the store at {self._database.where} is {state}; open it for writing")
            if self._writer is None:
                self._database.lock.acquire(holder)
                try:
                    with self._database.translating(), self._database.writer().begin() as connection:
                        self._epoch = writes.take_leadership(connection, holder)
                    self._blobs.remove_temporaries()
                    self._collect_blobs(self._blobs.names())
                except BaseException:
                    self._database.lock.release()
                    raise
                self._writer = GroupWriter(self._database, self._blobs, self._observe)
            return self._epoch

    def create_run(self, record: RunRecord, entries: Sequence[JournalEntry] = ()) -> Future[None]:
        stream = StreamKey.of_run(record.run_id)

        def prepare() -> Apply:
            rows = writes.journal_rows(stream, 0, entries, self._place)
            return partial(writes.create_run, epoch=self._epoch, record=record, rows=rows)

        return self._submit("create_run", prepare)

    def create_stream(self, stream: StreamKey, entries: Sequence[JournalEntry] = ()) -> Future[None]:
        def prepare() -> Apply:
            rows = writes.journal_rows(stream, 0, entries, self._place)
            return partial(writes.create_stream, epoch=self._epoch, stream=stream, rows=rows)

        return self._submit("create_stream", prepare)

    def append(
        self,
        stream: StreamKey,
        expected_head: int,
        entries: Sequence[JournalEntry],
        *,
        status: str | None = None,
    ) -> Future[None]:
        def prepare() -> Apply:
            rows = writes.journal_rows(stream, expected_head, entries, self._place)
            return partial(
                writes.append,
                epoch=self._epoch,
                stream=stream,
                expected_head=expected_head,
                rows=rows,
                status=status,
            )

        return self._submit("append", prepare)

    def put_worker(self, record: WorkerRecord) -> Future[None]:
        apply = partial(writes.put_worker, epoch=self._epoch, record=record)
        return self._submit("put_worker", lambda: apply)

    def save_snapshot(self, snapshot: Snapshot, *, keep: Sequence[int] | None = None) -> Future[None]:
        kept = None if keep is None else tuple(keep)
        apply = partial(writes.save_snapshot, epoch=self._epoch, snapshot=snapshot, keep=kept)
        return self._submit("save_snapshot", lambda: apply)

    def trim(self, stream: StreamKey, up_to: int) -> Future[None]:
        dropped: set[str] = set()

        def apply(connection: Connection) -> None:
            dropped.update(writes.trim(connection, self._epoch, stream, up_to))

        def landed() -> None:
            # No write is being prepared that could name one of them again, but one of this group may have done
            # so. What a failure leaves behind, the next leader finds.
            with contextlib.suppress(StoreError):
                self._collect_blobs(dropped)

        return self._submit("trim", lambda: apply, landed)

    def put_counts(self, counts: Mapping[str, str]) -> Future[None]:
        apply = partial(writes.put_counts, epoch=self._epoch, counts=dict(counts))
        return self._submit("put_counts", lambda: apply)

    def add_samples(self, samples: Sequence[Sample]) -> Future[None]:
        apply = partial(writes.add_samples, epoch=self._epoch, values=tuple(samples))
        return self._submit("add_samples", lambda: apply)

    def runs(self) -> list[RunRecord]:
        with self._reading() as connection:
            ordered = _select_runs().order_by(runs.c.created_at, runs.c.run_id)
            return [_run_record(row) for row in connection.execute(ordered)]

    def run(self, run_id: str) -> RunRecord | None:
        with self._reading() as connection:
            row = connection.execute(_select_runs().where(runs.c.run_id == run_id)).first()
        return None if row is None else _run_record(row)

    def streams(self, kind: str) -> list[str]:
        wanted = select(streams.c.id).where(streams.c.kind == kind).order_by(streams.c.id)
        with self._reading() as connection:
            return list(connection.execute(wanted).scalars())

    def entries(self, stream: StreamKey, after: int = 0, limit: int | None = None) -> Iterator[JournalEntry]:
        trimmed, last = self._span(stream)
        after = max(after, trimmed)
        if limit is not None:
            last = min(last, after + limit)
        while after < last:
            page = self._page(stream, after, min(last, after + _PAGE_ROWS))
            yield from page
            after += len(page)

    def workers(self) -> list[WorkerRecord]:
        with self._reading() as connection:
            rows = connection.execute(select(workers).order_by(workers.c.worker_id))
            return [WorkerRecord(**row) for row in rows.mappings()]

    def snapshot_seqs(self, stream: StreamKey) -> list[int]:
        newest = select(snapshots.c.seq).where(writes.of_stream(snapshots, stream))
        with self._reading() as connection:
            return list(connection.execute(newest.order_by(snapshots.c.seq.desc())).scalars())

    def snapshot(self, stream: StreamKey, seq: int) -> Snapshot | None:
        wanted = select(snapshots).where(writes.of_stream(snapshots, stream), snapshots.c.seq == seq)
        with self._reading() as connection:
            row = connection.execute(wanted).first()
        if row is None:
            return None
        return Snapshot(stream=stream, seq=row.seq, meta=row.meta, payload=row.payload or b"")

    def samples(
        self, run_id: str, names: Sequence[str] | None = None, after: float | None = None
    ) -> list[Sample]:
        wanted = select(samples).where(samples.c.run_id == run_id).order_by(samples.c.id)
        if names is not None:
            wanted = wanted.where(samples.c.name.in_(names))
        if after is not None:
            wanted = wanted.where(samples.c.time > after)
        with self._reading() as connection:
            return [
                Sample(
                    run_id=row.run_id,
                    name=row.name,
                    worker_id=row.worker_id,
                    version=row.version,
                    time=row.time,
                    value=math.nan if row.value is None else row.value,
                )
                for row in connection.execute(wanted)
            ]

    def close(self) -> None:
        with self._leadership:
            if self._closed:
                return
            self._closed = True
            if self._writer is not None:
                self._writer.close()
            self._database.engine.dispose()
            self._database.lock.release()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        if self._closed:
            raise StoreError(f"the store at {self._database.where} is closed; open it again")
        with self._database.reading() as connection:
            yield connection

    def _submit(
        self, operation: str, prepare: Callable[[], Apply], landed: Landed = lambda: None
    ) -> Future[None]:
        if self._writer is not None:
            return self._writer.submit(operation, prepare, landed)
        refused: Future[None] = Future()
        refused.set_exception(
            StoreWriteError(f"the store at {self._database.where} is open for reading only")
            if self._read_only
            else FencedError(f"the store at {self._database.where} is written without leadership: acquire it")
        )
        return refused

    def _place(self, payload: bytes | None) -> Mapping[str, Any]:
        if payload is None or len(payload) <= self._options.blob_threshold_bytes:
            return {"payload": payload, "blob": None}
        return {"payload": None, "blob": self._blobs.write(payload)}

    def _payload(self, row: Row[Any]) -> bytes | None:
        return row.payload if row.blob is None else self._blobs.read(row.blob)

    def _collect_blobs(self, names: Collection[str]) -> None:
        """Delete those that nothing names: those of dropped entries, and of writes that failed."""
        with self._database.reading() as connection:
            unnamed = writes.unnamed_blobs(connection, names)
        self._blobs.collect(unnamed, self._options.blob_grace_seconds)

    def _span(self, stream: StreamKey) -> tuple[int, int]:
        """The last entry that was dropped, and the head."""
        span = select(streams.c.trimmed, streams.c.head)
        with self._reading() as connection:
            row = connection.execute(
                span.where(streams.c.kind == stream.kind, streams.c.id == stream.id)
            ).first()
        return (0, 0) if row is None else (row.trimmed, row.head)

    def _page(self, stream: StreamKey, after: int, last: int) -> list[JournalEntry]:
        """Entries ``after + 1 .. last``, every one of them."""
        rows = (
            select(journal)
            .where(writes.of_stream(journal, stream), journal.c.seq > after, journal.c.seq <= last)
            .order_by(journal.c.seq)
        )
        with self._reading() as connection:
            found = connection.execute(rows).all()
        for seq, row in zip(range(after + 1, last + 1), [*found, None], strict=False):
            if row is None or row.seq != seq:
                if seq <= self._span(stream)[0]:
                    raise StoreError(f"entry {seq} of {stream} was dropped while it was read; begin again")
                raise CorruptStateError(
                    f"entry {seq} of {stream} is missing from {self._database.where}; restore it from a backup",
                    seq=seq,
                )
        return [
            JournalEntry(seq=row.seq, kind=row.kind, time=row.time, meta=row.meta, payload=self._payload(row))
            for row in found
        ]


def _select_runs() -> Select[Any]:
    heads = (streams.c.kind == RUN_STREAM) & (streams.c.id == runs.c.run_id)
    return select(runs, streams.c.head, streams.c.trimmed).join_from(runs, streams, heads)


def _run_record(row: Row[Any]) -> RunRecord:
    return RunRecord(
        run_id=row.run_id,
        status=row.status,
        config=row.config,
        created_at=row.created_at,
        head=row.head,
        trimmed=row.trimmed,
        counts=row.counts,
    )
