"""The statements of each kind of write.

Every write starts with an UPDATE that changes exactly one row if this epoch is still the current one, and locks
that row until the commit; a check by SELECT, or inside of an INSERT, could pass and still land after another
leader took over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, insert, select, update

from chronos_common.errors import FencedError, RunExistsError, StoreError, StoreWriteError
from chronos_common.store.base import (
    JournalEntry,
    RunRecord,
    Sample,
    Snapshot,
    StreamKey,
    WorkerRecord,
    require_consecutive,
    require_replayable,
)
from chronos_common.store.tables import journal, leadership, runs, samples, snapshots, streams, workers

Row = dict[str, Any]
Place = Callable[[bytes | None], Mapping[str, Any]]
"""Puts a payload where it belongs (in the row or in a blob) and returns the columns that say so."""


def take_leadership(connection: Connection, holder: str) -> int:
    """Hand out the next epoch, and every stream to it."""
    connection.execute(update(leadership).values(epoch=leadership.c.epoch + 1, holder=holder))
    epoch: int = connection.execute(select(leadership.c.epoch)).scalar_one()
    connection.execute(update(streams).values(epoch=epoch))
    return epoch


def create_run(connection: Connection, epoch: int, record: RunRecord, rows: Sequence[Row]) -> None:
    """The run, and its journal with these rows."""
    _require_leader(connection, epoch)
    stream = StreamKey.of_run(record.run_id)
    if connection.execute(select(runs.c.run_id).where(runs.c.run_id == record.run_id)).first():
        raise RunExistsError(f"run {record.run_id!r} exists already; choose another id", run_id=record.run_id)
    connection.execute(insert(streams).values(kind=stream.kind, id=stream.id, epoch=epoch, head=len(rows)))
    connection.execute(
        insert(runs).values(
            run_id=record.run_id, status=record.status, config=record.config, created_at=record.created_at
        )
    )
    if rows:
        connection.execute(insert(journal), rows)


def create_stream(connection: Connection, epoch: int, stream: StreamKey, rows: Sequence[Row]) -> None:
    """A journal that is no run's, with these rows."""
    _require_leader(connection, epoch)
    there = select(streams.c.id).where(streams.c.kind == stream.kind, streams.c.id == stream.id)
    if connection.execute(there).first():
        raise StoreWriteError(f"{stream} exists already; append to it")
    connection.execute(insert(streams).values(kind=stream.kind, id=stream.id, epoch=epoch, head=len(rows)))
    if rows:
        connection.execute(insert(journal), rows)


def append(
    connection: Connection,
    epoch: int,
    stream: StreamKey,
    expected_head: int,
    rows: Sequence[Row],
    status: str | None,
) -> None:
    """The rows behind ``expected_head``, and the run's status if one is given."""
    _move_head(connection, epoch, stream, expected_head, expected_head + len(rows))
    if rows:
        connection.execute(insert(journal), rows)
    if status is not None:
        changed = connection.execute(
            update(runs).where(runs.c.run_id == stream.id).values(status=status)
        ).rowcount
        if stream != StreamKey.of_run(stream.id) or changed != 1:
            raise StoreWriteError(f"{stream} has no status to set; only runs have one")


def put_worker(connection: Connection, epoch: int, record: WorkerRecord) -> None:
    """The worker in place of its earlier incarnation."""
    _require_leader(connection, epoch)
    known = connection.execute(
        select(workers.c.incarnation).where(workers.c.worker_id == record.worker_id)
    ).scalar()
    if known is not None and known > record.incarnation:
        raise StoreWriteError(
            f"worker {record.worker_id!r} has incarnation {known}, later than {record.incarnation}; reload"
        )
    connection.execute(delete(workers).where(workers.c.worker_id == record.worker_id))
    connection.execute(
        insert(workers).values(
            worker_id=record.worker_id,
            incarnation=record.incarnation,
            instance_id=record.instance_id,
            registered_at=record.registered_at,
        )
    )


def save_snapshot(connection: Connection, epoch: int, snapshot: Snapshot, keep: Sequence[int] | None) -> None:
    """The snapshot in place of one at the same seq and, with ``keep``, of all that are not at one of those."""
    head = _require_stream(connection, epoch, snapshot.stream)
    if head < snapshot.seq:
        raise StoreWriteError(f"a snapshot at seq {snapshot.seq} of {snapshot.stream}, whose head is {head}")
    replaced = snapshots.c.seq == snapshot.seq
    if keep is not None:
        replaced |= snapshots.c.seq.not_in(keep)
    connection.execute(delete(snapshots).where(of_stream(snapshots, snapshot.stream), replaced))
    connection.execute(
        insert(snapshots).values(
            stream_kind=snapshot.stream.kind,
            stream_id=snapshot.stream.id,
            seq=snapshot.seq,
            meta=snapshot.meta,
            payload=snapshot.payload,
        )
    )


def trim(connection: Connection, epoch: int, stream: StreamKey, up_to: int) -> set[str]:
    """Drops entries; returns the blobs that they named."""
    _require_stream(connection, epoch, stream)
    kept = connection.execute(select(snapshots.c.seq).where(of_stream(snapshots, stream))).scalars()
    require_replayable(stream, up_to, kept)
    dropped = of_stream(journal, stream) & (journal.c.seq <= up_to)
    named = select(journal.c.blob).where(dropped, journal.c.blob.is_not(None)).distinct()
    blobs = set(connection.execute(named).scalars())
    connection.execute(delete(journal).where(dropped))
    connection.execute(
        update(streams)
        .where(streams.c.kind == stream.kind, streams.c.id == stream.id, streams.c.trimmed < up_to)
        .values(trimmed=up_to)
    )
    return blobs


def put_counts(connection: Connection, epoch: int, counts: Mapping[str, str]) -> None:
    """What was counted of these runs."""
    _require_leader(connection, epoch)
    for run_id, text in counts.items():
        changed = connection.execute(update(runs).where(runs.c.run_id == run_id).values(counts=text)).rowcount
        if changed != 1:
            raise StoreWriteError(f"there is no run {run_id!r} to keep counts of")


def unnamed_blobs(connection: Connection, names: Collection[str]) -> set[str]:
    """Those of the blobs that no row names."""
    if not names:
        return set()
    found = connection.execute(select(journal.c.blob).where(journal.c.blob.is_not(None)).distinct())
    return set(names).difference(found.scalars())


def of_stream(table: Table, stream: StreamKey) -> ColumnElement[bool]:
    """Rows of a stream."""
    return (table.c.stream_kind == stream.kind) & (table.c.stream_id == stream.id)


def add_samples(connection: Connection, epoch: int, values: Sequence[Sample]) -> None:
    """The samples in their order."""
    _require_leader(connection, epoch)
    if values:
        connection.execute(
            insert(samples),
            [
                {
                    "run_id": sample.run_id,
                    "name": sample.name,
                    "worker_id": sample.worker_id,
                    "version": sample.version,
                    "time": sample.time,
                    "value": None if math.isnan(sample.value) else sample.value,
                }
                for sample in values
            ],
        )


def journal_rows(
    stream: StreamKey, expected_head: int, entries: Sequence[JournalEntry], place: Place
) -> list[Row]:
    """The journal's rows; ``StoreWriteError`` unless the entries follow ``expected_head`` one by one."""
    require_consecutive(stream, expected_head, entries)
    return [
        {
            "stream_kind": stream.kind,
            "stream_id": stream.id,
            "seq": entry.seq,
            "kind": entry.kind,
            "time": entry.time,
            "meta": entry.meta,
            **place(entry.payload),
        }
        for entry in entries
    ]


def _require_leader(connection: Connection, epoch: int) -> None:
    touched = update(leadership).where(leadership.c.epoch == epoch).values(epoch=epoch)
    if connection.execute(touched).rowcount != 1:
        raise fenced(epoch, connection.execute(select(leadership.c.epoch)).scalar_one())


def _require_stream(connection: Connection, epoch: int, stream: StreamKey) -> int:
    """Lock the stream under this epoch and return its head."""
    touched = (
        update(streams)
        .where(streams.c.kind == stream.kind, streams.c.id == stream.id, streams.c.epoch == epoch)
        .values(epoch=epoch)
    )
    if connection.execute(touched).rowcount != 1:
        raise _refusal(connection, epoch, stream, None)
    head: int = connection.execute(
        select(streams.c.head).where(streams.c.kind == stream.kind, streams.c.id == stream.id)
    ).scalar_one()
    return head


def _move_head(connection: Connection, epoch: int, stream: StreamKey, old: int, new: int) -> None:
    moved = (
        update(streams)
        .where(
            streams.c.kind == stream.kind,
            streams.c.id == stream.id,
            streams.c.epoch == epoch,
            streams.c.head == old,
        )
        .values(head=new)
    )
    if connection.execute(moved).rowcount != 1:
        raise _refusal(connection, epoch, stream, old)


def _refusal(connection: Connection, epoch: int, stream: StreamKey, expected_head: int | None) -> StoreError:
    """Why the one row did not change."""
    row = connection.execute(
        select(streams.c.epoch, streams.c.head).where(
            streams.c.kind == stream.kind, streams.c.id == stream.id
        )
    ).first()
    if row is None:
        _require_leader(connection, epoch)
        return StoreWriteError(f"{stream} does not exist; create it first")
    if row.epoch != epoch:
        return fenced(epoch, row.epoch)
    return StoreWriteError(
        f"the head of {stream} is {row.head}, not {expected_head}; reload before writing",
        head=row.head,
        expected=expected_head or 0,
    )


def fenced(epoch: int, current: int) -> FencedError:
    """The error of a writer whose epoch has passed."""
    return FencedError(
        f"this coordinator writes under epoch {epoch}, but epoch {current} has taken over; stop and reload",
        epoch=epoch,
        current=current,
    )
