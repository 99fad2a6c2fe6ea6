"""Many writes share one commit, and each keeps its own fate."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from chronos_common.errors import StoreWriteError
from chronos_common.store import Snapshot, Store, StreamKey
from tests.support.storing import entries, entry, journal, record

SECONDS = 30
RUN = StreamKey.of_run("run")


class Gate:
    """An observer that counts commits and can hold the writer thread back after one of them."""

    def __init__(self) -> None:
        self.commits = 0
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, operation: str, seconds: float) -> None:
        if operation == "commit":
            self.commits += 1
            self.reached.set()
            assert self.open.wait(SECONDS)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def store(sqlite: Any, gate: Gate) -> Store:
    """A leading store whose writer has committed the creation of a run and is held back after it."""
    store: Store = sqlite.open(observe=gate)
    store.acquire("test")
    store.create_run(record()).result(SECONDS)
    assert gate.reached.wait(SECONDS)
    return store


def test_writes_that_wait_share_one_commit(store: Store, gate: Gate) -> None:
    futures: list[Future[None]] = [store.append(RUN, seq - 1, [entry(seq)]) for seq in range(1, 65)]
    assert not any(future.done() for future in futures)
    gate.open.set()
    for future in futures:
        future.result(SECONDS)
    store.close()
    assert gate.commits == 2


def test_writes_from_many_threads_need_far_fewer_commits(store: Store, gate: Gate) -> None:
    barrier = threading.Barrier(64)
    failures: list[BaseException] = []

    def write(number: int) -> None:
        barrier.wait(SECONDS)
        run_id = f"run-{number}"
        futures = [
            store.create_run(record(run_id)),
            store.append(StreamKey.of_run(run_id), 0, entries(1, 3)),
        ]
        failures.extend(error for future in futures if (error := future.exception(SECONDS)))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    gate.open.set()
    for thread in threads:
        thread.join(SECONDS)
    assert not failures
    assert all(journal(store, f"run-{number}") == entries(1, 3) for number in range(64))
    store.close()
    assert gate.commits < 64


def test_a_refusal_inside_of_a_group_rolls_back_only_itself(store: Store, gate: Gate) -> None:
    unbindable: Any = {"not": "a string"}
    futures = [
        store.append(RUN, 0, entries(1, 2)),
        store.append(RUN, 2, [*entries(3, 3), entry(4, meta=unbindable)], status="finished"),
        store.append(RUN, 2, [entry(3, meta="\ud800")]),
        store.append(RUN, 2, entries(3, 4)),
    ]
    gate.open.set()
    errors = [future.exception(SECONDS) for future in futures]
    assert [type(error) for error in errors] == [type(None), StoreWriteError, StoreWriteError, type(None)]
    assert journal(store) == entries(1, 4)
    run = store.run("run")
    assert run is not None
    assert run.status == "active"
    store.close()
    assert gate.commits == 2


def test_a_number_that_the_database_cannot_hold_fails_alone(store: Store, gate: Gate) -> None:
    gate.open.set()
    with pytest.raises(StoreWriteError, match="cannot be stored"):
        store.append(RUN, 2**64, [entry(2**64 + 1)]).result(SECONDS)
    store.append(RUN, 0, entries(1, 1)).result(SECONDS)


def test_a_cancelled_write_is_not_applied(store: Store, gate: Gate) -> None:
    cancelled = store.append(RUN, 0, [entry(1, meta='"cancelled"')])
    assert cancelled.cancel()
    kept = store.append(RUN, 0, entries(1, 1))
    gate.open.set()
    kept.result(SECONDS)
    assert not kept.cancel()
    assert journal(store) == entries(1, 1)


def test_a_blob_that_the_same_group_drops_and_names_again_stays(
    store: Store, gate: Gate, sqlite: Any
) -> None:
    content = b"again" * 1000
    gate.open.set()
    store.append(RUN, 0, [entry(1, content), entry(2)]).result(SECONDS)
    store.save_snapshot(Snapshot(stream=RUN, seq=2, meta="{}", payload=b"")).result(SECONDS)
    [blob] = Path(f"{sqlite.path}-blobs").iterdir()
    os.utime(blob, (0.0, 0.0))
    gate.open.clear()
    gate.reached.clear()
    store.add_samples([]).result(SECONDS)
    assert gate.reached.wait(SECONDS)
    trimmed, appended = store.trim(RUN, 1), store.append(RUN, 2, [entry(3, content)])
    before = gate.commits
    gate.open.set()
    trimmed.result(SECONDS)
    appended.result(SECONDS)
    store.close()
    assert gate.commits == before + 1
    assert blob.read_bytes() == content
