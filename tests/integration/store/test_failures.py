"""Disks that fill, flushes that fail, files that are damaged: typed errors, and nothing half-written."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from chronos_common.errors import CorruptStateError, StoreError, StoreWriteError
from chronos_common.store import Snapshot, SqlStore, Store, StoreOptions, StreamKey
from chronos_common.store.blobs import BlobDirectory
from chronos_common.store.dialect import sqlite_database
from tests.support.storing import entries, entry, journal, leading, record

SECONDS = 30
RUN = StreamKey.of_run("run")
LARGE = bytes(range(256)) * 8


def blob_of(sqlite: Any, content: bytes) -> Path:
    return Path(f"{sqlite.path}-blobs") / hashlib.sha256(content).hexdigest()


def test_a_full_disk_is_a_typed_error_and_nothing_is_half_written(sqlite: Any) -> None:
    leading(sqlite.open()).close()

    def small_disk(connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 8}")

    store = sqlite.open(on_connect=small_disk)
    store.acquire("test")
    acknowledged = 0
    error: BaseException | None = None
    while error is None:
        pair = [entry(acknowledged + 1, b"a" * 900), entry(acknowledged + 2, b"b" * 900)]
        future = store.append(RUN, acknowledged, pair, status=f"at {acknowledged + 2}")
        error = future.exception(SECONDS)
        acknowledged += 0 if error else 2
    assert isinstance(error, StoreWriteError)
    assert "full" in str(error)
    assert acknowledged > 0
    with pytest.raises(StoreWriteError, match="broken .* open it again"):
        store.append(RUN, acknowledged, []).result(SECONDS)
    store.close()

    again = sqlite.open()
    again.acquire("test")
    run = again.run("run")
    assert (run.head, run.status) == (acknowledged, f"at {acknowledged}")
    assert len(journal(again)) == acknowledged
    again.append(RUN, acknowledged, [entry(acknowledged + 1)]).result(SECONDS)


@pytest.mark.parametrize("landed", [False, True], ids=["lost", "landed"])
def test_an_ambiguous_commit_breaks_the_store_until_it_is_opened_again(sqlite: Any, landed: bool) -> None:
    store = leading(sqlite.open())
    database = store._database  # type: ignore[attr-defined]  # the seam: SQLAlchemy's own events

    def fail(connection: Any) -> None:
        if landed:
            connection.exec_driver_sql("COMMIT")
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

    event.listen(database.engine, "commit", fail)
    futures = [store.append(RUN, 0, entries(1, 1)), store.add_samples([])]
    for future in futures:
        with pytest.raises(StoreWriteError, match=r"disk I/O error|broken"):
            future.result(SECONDS)
    event.remove(database.engine, "commit", fail)
    with pytest.raises(StoreWriteError, match="unknown what became durable"):
        store.append(RUN, 0, entries(1, 1)).result(SECONDS)
    store.close()
    again = sqlite.open()
    assert journal(again) == (entries(1, 1) if landed else [])


@pytest.mark.parametrize("failing", ["file", "directory"])
def test_a_failed_flush_of_a_blob_fails_the_write(sqlite: Any, failing: str) -> None:
    leading(sqlite.open()).close()
    calls = {"file": 1, "directory": 3}[failing]
    done = 0

    def fsync(descriptor: int) -> None:
        nonlocal done
        done += 1
        if done == calls:
            raise OSError(errno.EIO, "Input/output error")

    store = SqlStore(
        sqlite_database(sqlite.path),
        options=StoreOptions(blob_threshold_bytes=100),
        blobs=BlobDirectory(sqlite.path.parent / "elsewhere", fsync=fsync),
    )
    store.acquire("test")
    with pytest.raises(StoreWriteError, match="Input/output error"):
        store.append(RUN, 0, [entry(1, LARGE)]).result(SECONDS)
    with pytest.raises(StoreWriteError, match="broken"):
        store.append(RUN, 0, [entry(1)]).result(SECONDS)
    store.close()
    assert journal(sqlite.open()) == []


def test_leadership_that_cannot_be_written_is_not_held(sqlite: Any) -> None:
    leading(sqlite.open()).close()
    database = sqlite_database(sqlite.path, options=StoreOptions(busy_timeout_seconds=0.0))
    store = SqlStore(database)
    other = sqlite3.connect(sqlite.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.acquire("test")
    other.close()
    heir = sqlite.open()
    assert heir.acquire("heir") == 2
    store.close()


def test_only_runs_have_a_status(sqlite: Any) -> None:
    store = leading(sqlite.open())
    with sqlite3.connect(sqlite.path) as connection:
        connection.execute("INSERT INTO streams VALUES ('clan', 'run', 1, 0, 0)")
    connection.close()
    clan = StreamKey("clan", "run")
    with pytest.raises(StoreWriteError, match="no status"):
        store.append(clan, 0, entries(1, 1), status="finished").result(SECONDS)
    assert list(store.entries(clan)) == []
    store.append(clan, 0, entries(1, 1)).result(SECONDS)
    assert list(store.entries(clan)) == entries(1, 1)


def test_an_error_that_nobody_foresaw_leaves_no_future_hanging(
    sqlite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncaught: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", uncaught.append)
    proceed = threading.Event()

    def observe(operation: str, seconds: float) -> None:
        assert proceed.wait(SECONDS)
        raise RuntimeError("an observer that breaks its contract")

    store = sqlite.open(observe=observe)
    store.acquire("test")
    store.create_run(record()).result(SECONDS)
    waiting = store.append(RUN, 0, entries(1, 1))
    proceed.set()
    with pytest.raises(StoreWriteError, match="writer thread has ended"):
        waiting.result(SECONDS)
    store.close()
    assert len(uncaught) == 1


def test_large_payloads_lie_aside_once_each(sqlite: Any) -> None:
    store = leading(sqlite.open())
    store.append(RUN, 0, [entry(1, LARGE), entry(2, LARGE), entry(3, b"small")]).result(SECONDS)
    store.save_snapshot(Snapshot(stream=RUN, seq=3, meta="{}", payload=LARGE + b"!")).result(SECONDS)
    assert [each.payload for each in journal(store)] == [LARGE, LARGE, b"small"]
    assert list(blob_of(sqlite, LARGE).parent.iterdir()) == [blob_of(sqlite, LARGE)]
    assert blob_of(sqlite, LARGE).read_bytes() == LARGE


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_blob_is_named(sqlite: Any, damage: str) -> None:
    store = leading(sqlite.open())
    store.append(RUN, 0, [entry(1), entry(2, LARGE)]).result(SECONDS)
    blob = blob_of(sqlite, LARGE)
    if damage == "missing":
        blob.unlink()
    else:
        blob.write_bytes(LARGE[:-1] + b"!")
    with pytest.raises(CorruptStateError, match=blob.name):
        journal(store)
    # Writing the same content again repairs it.
    store.append(RUN, 2, [entry(3, LARGE)]).result(SECONDS)
    assert [each.payload for each in journal(store)][1:] == [LARGE, LARGE]


@pytest.mark.parametrize("seq", [1, 70, 100])
def test_a_missing_entry_is_named(sqlite: Any, seq: int) -> None:
    store = leading(sqlite.open())
    store.append(RUN, 0, entries(1, 100)).result(SECONDS)
    store.close()
    with sqlite3.connect(sqlite.path) as connection:
        connection.execute("DELETE FROM journal WHERE seq = ?", (seq,))
    connection.close()
    with pytest.raises(CorruptStateError, match=f"entry {seq} of .*'run'"):
        journal(sqlite.open())


def test_a_damaged_database_is_told_from_an_unusable_one(sqlite: Any) -> None:
    store = leading(sqlite.open())
    store.append(RUN, 0, [entry(seq, b"x" * 1000) for seq in range(1, 200)]).result(SECONDS)
    store.close()
    content = bytearray(sqlite.path.read_bytes())
    content[20_000:-20_000] = b"\xa5" * (len(content) - 40_000)
    sqlite.path.write_bytes(content)
    with pytest.raises(CorruptStateError, match="damaged"):
        journal(sqlite.open())


def test_what_a_dead_writer_left_unfinished_is_removed(sqlite: Any) -> None:
    store = leading(sqlite.open())
    store.append(RUN, 0, [entry(1, LARGE)]).result(SECONDS)
    store.close()
    leftover = blob_of(sqlite, LARGE).with_name(".writing-1-0")
    leftover.write_bytes(b"half")
    sqlite.open().close()
    assert leftover.exists()
    sqlite.open().acquire("test")
    assert not leftover.exists()
    assert blob_of(sqlite, LARGE).exists()


HOUR = 3600.0


def aged(path: Path, seconds: float) -> Path:
    """The file, as if it had been written so long ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def snapshot_at(store: Store, seq: int) -> None:
    store.save_snapshot(Snapshot(stream=RUN, seq=seq, meta="{}", payload=b"")).result(SECONDS)


def test_trimming_deletes_the_blobs_that_only_the_dropped_entries_name(sqlite: Any) -> None:
    store = leading(sqlite.open(), ["run", "other"])
    twice, theirs, fresh, old = (bytes([number]) * 5000 for number in range(4))
    payloads = [twice, theirs, fresh, old, twice]
    store.append(RUN, 0, [entry(n, each) for n, each in enumerate(payloads, start=1)]).result(SECONDS)
    store.append(StreamKey.of_run("other"), 0, [entry(1, theirs)]).result(SECONDS)
    for each in (twice, theirs, old):
        aged(blob_of(sqlite, each), 2 * HOUR)
    snapshot_at(store, 4)
    store.trim(RUN, 4).result(SECONDS)
    assert not blob_of(sqlite, old).exists()
    assert blob_of(sqlite, fresh).exists()
    assert [each.payload for each in journal(store)] == [twice]
    assert journal(store, "other")[0].payload == theirs
    # What was too young then is found by the next leader.
    aged(blob_of(sqlite, fresh), 2 * HOUR)
    store.close()
    sqlite.open().acquire("test")
    left = {path.name for path in blob_of(sqlite, twice).parent.iterdir()}
    assert left == {blob_of(sqlite, each).name for each in (twice, theirs)}


def test_a_blob_that_nothing_names_is_left_to_readers_for_a_while(sqlite: Any) -> None:
    store = leading(sqlite.open())
    store.append(RUN, 0, [entry(1, LARGE)]).result(SECONDS)
    store.close()
    young, old = blob_of(sqlite, b"young"), blob_of(sqlite, b"old")
    young.write_bytes(b"young")
    old.write_bytes(b"old")
    aged(old, 2 * HOUR)
    aged(blob_of(sqlite, LARGE), 2 * HOUR)
    sqlite.open(read_only=True).close()
    assert old.exists()
    sqlite.open().acquire("test")
    assert [young.exists(), old.exists(), blob_of(sqlite, LARGE).exists()] == [True, False, True]


def test_a_reader_of_entries_that_are_dropped_meanwhile_is_told_so(sqlite: Any) -> None:
    store = leading(sqlite.open())
    store.append(RUN, 0, entries(1, 200)).result(SECONDS)
    snapshot_at(store, 150)
    reader = store.entries(RUN)
    next(reader)
    store.trim(RUN, 150).result(SECONDS)
    with pytest.raises(StoreError, match="was dropped while it was read") as caught:
        list(reader)
    assert not isinstance(caught.value, CorruptStateError)
    assert journal(store) == entries(151, 200)
