"""Contract of every store."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from chronos_common.errors import (
    FencedError,
    LeadershipHeldError,
    RunExistsError,
    StoreError,
    StoreWriteError,
)
from chronos_common.store import JournalEntry, Snapshot, StreamKey, WorkerRecord
from tests.support.storing import entries, entry, journal, leading, record, sample

RUN = StreamKey.of_run("run")
SECONDS = 30
WORKER = WorkerRecord(worker_id="w0", incarnation=2, instance_id="a", registered_at=5.25)


def test_a_journal_gives_back_exactly_what_was_appended(backend: Any) -> None:
    store = leading(backend.open())
    written = [
        entry(1),
        entry(2, b"", meta='{"λ":"é","n":1e-300}'),
        JournalEntry(seq=3, kind="published", time=1e9 + 0.123456789, meta="[]", payload=bytes(range(256))),
        entry(4, b"x" * 5000),
    ]
    store.append(RUN, 0, written[:1]).result(SECONDS)
    store.append(RUN, 1, written[1:]).result(SECONDS)
    assert journal(store) == written
    assert journal(backend.open(read_only=True)) == written


def test_a_run_starts_with_its_first_entries(backend: Any) -> None:
    store = leading(backend.open(), [])
    store.create_run(dataclasses.replace(record(), head=77), entries(1, 3)).result(SECONDS)
    assert store.run("run") == dataclasses.replace(record(), head=3)
    assert journal(store) == entries(1, 3)


def test_entries_are_read_from_and_up_to_where_they_are_asked(backend: Any) -> None:
    store = leading(backend.open())
    store.append(RUN, 0, entries(1, 200)).result(SECONDS)
    assert list(store.entries(RUN, after=150)) == entries(151, 200)
    assert list(store.entries(RUN, after=10, limit=100)) == entries(11, 110)
    assert list(store.entries(RUN, limit=0)) == list(store.entries(RUN, after=200)) == []
    assert list(store.entries(RUN, after=195, limit=100)) == entries(196, 200)


def test_writes_go_on_while_a_journal_is_read(backend: Any) -> None:
    store = leading(backend.open())
    store.append(RUN, 0, entries(1, 100)).result(SECONDS)
    reader = store.entries(RUN)
    first = next(reader)
    store.append(RUN, 100, entries(101, 110)).result(SECONDS)
    assert [first, *reader] == entries(1, 100)
    assert journal(store) == entries(1, 110)


def test_what_does_not_exist_is_empty(backend: Any) -> None:
    store = leading(backend.open(), [])
    assert [store.runs(), store.workers(), store.samples("run"), journal(store)] == [[]] * 4
    assert [store.run("run"), store.snapshot(RUN, 1)] == [None] * 2
    assert store.snapshot_seqs(RUN) == []


def test_runs_are_listed_by_creation_with_status_and_head(backend: Any) -> None:
    store = leading(backend.open(), [])
    for run_id, created_at in [("b", 2.0), ("a", 2.0), ("c", 1.0)]:
        store.create_run(record(run_id, created_at)).result(SECONDS)
    store.append(StreamKey.of_run("a"), 0, entries(1, 2), status="finished").result(SECONDS)
    assert [(run.run_id, run.status, run.head) for run in store.runs()] == [
        ("c", "active", 0),
        ("a", "finished", 2),
        ("b", "active", 0),
    ]
    store.append(StreamKey.of_run("b"), 0, [], status="stopped").result(SECONDS)
    assert store.run("b") == dataclasses.replace(record("b", 2.0), status="stopped")


def test_a_run_is_created_once(backend: Any) -> None:
    store = leading(backend.open())
    with pytest.raises(RunExistsError, match="'run'"):
        store.create_run(record(created_at=9.0), entries(1, 1)).result(SECONDS)
    assert store.runs() == [record()]
    assert journal(store) == []


@pytest.mark.parametrize(
    ("stream", "head", "added", "status"),
    [
        (RUN, 1, entries(2, 2), None),
        (RUN, 3, entries(4, 4), None),
        (RUN, 2, entries(4, 4), None),
        (RUN, 2, [entry(3), entry(3)], "finished"),
        (RUN, 1, [], "finished"),
        (StreamKey.of_run("other"), 0, entries(1, 1), None),
        (StreamKey("clan", "run"), 0, entries(1, 1), "finished"),
    ],
)
def test_an_append_elsewhere_than_at_the_head_changes_nothing(
    backend: Any, stream: StreamKey, head: int, added: Any, status: Any
) -> None:
    store = leading(backend.open())
    store.append(RUN, 0, entries(1, 2)).result(SECONDS)
    with pytest.raises(StoreWriteError):
        store.append(stream, head, added, status=status).result(SECONDS)
    assert store.run("run") == dataclasses.replace(record(), head=2)
    store.append(RUN, 2, entries(3, 3)).result(SECONDS)
    assert journal(store) == entries(1, 3)


def test_writes_are_applied_in_the_order_of_their_calls(backend: Any) -> None:
    store = leading(backend.open())
    futures = [store.append(RUN, seq - 1, [entry(seq)]) for seq in range(1, 51)]
    for future in futures:
        future.result(SECONDS)
    assert [each.seq for each in journal(store)] == list(range(1, 51))


def test_a_refused_write_leaves_its_neighbours_alone(backend: Any) -> None:
    store = leading(backend.open(), ["run", "other"])
    futures = [
        store.append(RUN, 0, entries(1, 1)),
        store.append(RUN, 7, entries(8, 8)),
        store.create_run(record("other")),
        store.append(StreamKey.of_run("other"), 0, entries(1, 2)),
        store.add_samples([sample(), sample(run_id="unknown")]),
        store.append(RUN, 1, entries(2, 2)),
    ]
    errors = [future.exception(SECONDS) for future in futures]
    assert [type(error) for error in errors] == [
        type(None),
        StoreWriteError,
        RunExistsError,
        type(None),
        StoreWriteError,
        type(None),
    ]
    assert journal(store) == entries(1, 2) == journal(store, "other")
    assert store.samples("run") == []


def test_workers_are_replaced_by_later_incarnations_only(backend: Any) -> None:
    store = leading(backend.open(), [])
    store.put_worker(WORKER).result(SECONDS)
    store.put_worker(dataclasses.replace(WORKER, worker_id="a")).result(SECONDS)
    newer = dataclasses.replace(WORKER, incarnation=3, instance_id="b")
    store.put_worker(newer).result(SECONDS)
    with pytest.raises(StoreWriteError, match="incarnation 3"):
        store.put_worker(WORKER).result(SECONDS)
    assert store.workers() == [dataclasses.replace(WORKER, worker_id="a"), newer]


def shot(seq: int, payload: bytes = b"s") -> Snapshot:
    return Snapshot(stream=RUN, seq=seq, meta=f"[{seq}]", payload=payload * seq * 900)


def test_counts_are_kept_with_their_runs(backend: Any) -> None:
    store = leading(backend.open(), ["one", "other"])
    store.put_counts({"one": '{"a":1}', "other": "{}"}).result(SECONDS)
    store.put_counts({"one": '{"a":2}'}).result(SECONDS)
    with pytest.raises(StoreWriteError, match="unknown"):
        store.put_counts({"other": "changed", "unknown": "{}"}).result(SECONDS)
    store.append(StreamKey.of_run("one"), 0, entries(1, 1), status="finished").result(SECONDS)
    store.close()
    again = backend.open()
    assert {run.run_id: (run.counts, run.status) for run in again.runs()} == {
        "one": ('{"a":2}', "finished"),
        "other": ("{}", "active"),
    }
    again.close()


def test_snapshots_are_found_the_newest_first(backend: Any) -> None:
    store = leading(backend.open(), ["run", "other"])
    store.append(RUN, 0, entries(1, 9)).result(SECONDS)
    for seq in (9, 1):
        store.save_snapshot(shot(seq)).result(SECONDS)
    assert store.snapshot_seqs(RUN) == [9, 1]
    assert [store.snapshot(RUN, seq) for seq in (9, 1, 5)] == [shot(9), shot(1), None]
    again = dataclasses.replace(shot(9), meta='"again"', payload=b"")
    store.save_snapshot(again).result(SECONDS)
    assert [store.snapshot(RUN, seq) for seq in (9, 1)] == [again, shot(1)]
    assert store.snapshot_seqs(StreamKey.of_run("other")) == []


def test_snapshots_that_are_not_kept_go_with_the_write_that_says_so(backend: Any) -> None:
    store = leading(backend.open(), ["run", "other"])
    other = dataclasses.replace(shot(1), stream=StreamKey.of_run("other"))
    store.append(RUN, 0, entries(1, 9)).result(SECONDS)
    store.append(other.stream, 0, entries(1, 1)).result(SECONDS)
    for each in (other, shot(2), shot(4), shot(6)):
        store.save_snapshot(each).result(SECONDS)
    with pytest.raises(StoreWriteError):
        store.save_snapshot(shot(99), keep=[]).result(SECONDS)
    assert store.snapshot_seqs(RUN) == [6, 4, 2]
    store.save_snapshot(shot(8), keep=[4, 5]).result(SECONDS)
    assert store.snapshot_seqs(RUN) == [8, 4]
    store.save_snapshot(shot(8), keep=[]).result(SECONDS)
    assert store.snapshot_seqs(RUN) == [8]
    assert store.snapshot_seqs(other.stream) == [1]


def test_a_trimmed_journal_begins_later_and_goes_on_as_before(backend: Any) -> None:
    store = leading(backend.open(), ["run", "other"])
    store.append(RUN, 0, entries(1, 200)).result(SECONDS)
    store.append(StreamKey.of_run("other"), 0, entries(1, 3)).result(SECONDS)
    store.save_snapshot(shot(150)).result(SECONDS)
    for up_to in (120, 60, 0):
        store.trim(RUN, up_to).result(SECONDS)
        assert store.run("run") == dataclasses.replace(record(), head=200, trimmed=120)
    assert journal(store) == entries(121, 200)
    assert list(store.entries(RUN, after=50, limit=3)) == entries(121, 123)
    assert list(store.entries(RUN, after=150, limit=3)) == entries(151, 153)
    store.append(RUN, 200, entries(201, 202)).result(SECONDS)
    with pytest.raises(StoreWriteError):
        store.append(RUN, 82, entries(83, 83)).result(SECONDS)
    reader = backend.open(read_only=True)
    assert list(reader.entries(RUN, after=199)) == entries(200, 202)
    assert {run.run_id: (run.trimmed, run.head) for run in reader.runs()} == {
        "run": (120, 202),
        "other": (0, 3),
    }
    assert journal(reader, "other") == entries(1, 3)


@pytest.mark.parametrize(("stream", "up_to"), [(RUN, 5), (RUN, 99), (StreamKey.of_run("unknown"), 1)])
def test_a_journal_that_could_not_be_replayed_is_not_trimmed(
    backend: Any, stream: StreamKey, up_to: int
) -> None:
    store = leading(backend.open())
    store.append(RUN, 0, entries(1, 9)).result(SECONDS)
    store.save_snapshot(shot(4)).result(SECONDS)
    with pytest.raises(StoreWriteError):
        store.trim(stream, up_to).result(SECONDS)
    assert journal(store) == entries(1, 9)


@pytest.mark.parametrize("stream", [RUN, StreamKey.of_run("unknown")])
def test_a_snapshot_of_what_is_not_there_is_refused(backend: Any, stream: StreamKey) -> None:
    store = leading(backend.open())
    with pytest.raises(StoreWriteError):
        store.save_snapshot(Snapshot(stream=stream, seq=1, meta="{}", payload=b"")).result(SECONDS)
    assert store.snapshot_seqs(stream) == []


def test_samples_are_selected_by_name_and_time_in_the_order_of_arrival(backend: Any) -> None:
    store = leading(backend.open(), ["run", "other"])
    late, early, other = sample(at=20.0), sample(at=10.0), sample("accuracy", at=15.0)
    store.add_samples([late, other]).result(SECONDS)
    store.add_samples([early]).result(SECONDS)
    store.add_samples([]).result(SECONDS)
    store.add_samples([sample(run_id="other")]).result(SECONDS)
    assert store.samples("run") == [late, other, early]
    assert store.samples("run", names=["loss"]) == [late, early]
    assert store.samples("run", names=[]) == []
    assert store.samples("run", after=10.0) == [late, other]
    assert store.samples("run", names=["accuracy", "loss"], after=15.0) == [late]


@pytest.mark.parametrize("value", [math.inf, -math.inf, 0.1, 5e-324])
def test_samples_keep_every_float(backend: Any, value: float) -> None:
    store = leading(backend.open())
    store.add_samples([sample(value=value), sample(value=math.nan)]).result(SECONDS)
    kept, lost = (each.value for each in store.samples("run"))
    assert kept.hex() == value.hex()
    assert math.isnan(lost)


def test_without_leadership_nothing_is_written(backend: Any) -> None:
    store = backend.open()
    for future in (store.create_run(record()), store.put_worker(WORKER), store.add_samples([])):
        with pytest.raises(FencedError, match="acquire"):
            future.result(SECONDS)
    assert [store.runs(), store.workers()] == [[]] * 2


def test_leadership_is_exclusive_and_epochs_rise(backend: Any) -> None:
    first, second = backend.open(), backend.open()
    epoch = first.acquire("coordinator-a")
    assert first.acquire("coordinator-a") == epoch
    with pytest.raises(LeadershipHeldError, match="coordinator-a") as caught:
        second.acquire("coordinator-b")
    assert "coordinator-a" in str(caught.value.details["holder"])
    first.close()
    assert second.acquire("coordinator-b") > epoch


def test_a_deposed_leader_changes_nothing(backend: Any) -> None:
    old = leading(backend.open(exclusive=False))
    old.append(RUN, 0, entries(1, 2)).result(SECONDS)
    old.put_worker(WORKER).result(SECONDS)
    new = backend.open(exclusive=False)
    assert new.acquire("new") > old.acquire("test")
    attempts = [
        old.append(RUN, 2, entries(3, 3), status="finished"),
        old.append(RUN, 2, [], status="finished"),
        old.append(StreamKey.of_run("unknown"), 0, entries(1, 1)),
        old.create_run(record("late")),
        old.put_worker(dataclasses.replace(WORKER, incarnation=9)),
        old.save_snapshot(Snapshot(stream=RUN, seq=2, meta="{}", payload=b"")),
        old.trim(RUN, 0),
        old.add_samples([sample()]),
        old.put_counts({"run": "{}"}),
    ]
    assert [type(attempt.exception(SECONDS)) for attempt in attempts] == [FencedError] * len(attempts)
    new.append(RUN, 2, entries(3, 4)).result(SECONDS)
    assert journal(new) == entries(1, 4)
    assert new.runs() == [dataclasses.replace(record(), head=4)]
    assert new.workers() == [WORKER]
    assert new.snapshot_seqs(RUN) == []
    assert new.samples("run") == []


def test_a_run_of_the_new_leader_is_out_of_the_old_ones_reach(backend: Any) -> None:
    old = leading(backend.open(exclusive=False), [])
    leading(backend.open(exclusive=False))
    with pytest.raises(FencedError):
        old.append(RUN, 0, entries(1, 1)).result(SECONDS)


def test_a_reader_reads_and_cannot_lead(backend: Any) -> None:
    leading(backend.open())
    reader = backend.open(read_only=True)
    assert reader.runs() == [record()]
    with pytest.raises(StoreError, match="reading only"):
        reader.acquire("reader")
    with pytest.raises(StoreError, match="reading only"):
        reader.put_worker(WORKER).result(SECONDS)


def test_closing_finishes_what_waits_and_refuses_what_follows(backend: Any) -> None:
    store = leading(backend.open())
    futures = [store.append(RUN, seq - 1, [entry(seq)]) for seq in range(1, 21)]
    store.close()
    store.close()
    assert all(future.exception(0) is None for future in futures)
    with pytest.raises(StoreWriteError, match="closed"):
        store.append(RUN, 20, [entry(21)]).result(SECONDS)
    for use in (lambda: store.acquire("test"), store.runs, store.workers, lambda: journal(store)):
        with pytest.raises(StoreError, match="closed"):
            use()
    assert len(journal(backend.open())) == 20


def test_durations_are_observed_by_operation(backend: Any) -> None:
    seen: list[tuple[str, float]] = []
    store = leading(backend.open(observe=lambda *observed: seen.append(observed)))
    store.append(RUN, 0, entries(1, 1)).result(SECONDS)
    store.put_worker(WORKER).result(SECONDS)
    store.close()
    assert [name for name, _ in seen if name != "commit"] == ["create_run", "append", "put_worker"]
    assert all(seconds >= 0 for _, seconds in seen)


def test_a_stream_that_is_no_runs_is_created_listed_and_appended_to(backend: Any) -> None:
    store = leading(backend.open(), [])
    for plan in ("b", "a"):
        store.create_stream(StreamKey.of_data(plan), entries(1, 2)).result(SECONDS)
    store.create_stream(StreamKey.of_sizes("a")).result(SECONDS)
    store.append(StreamKey.of_data("a"), 2, entries(3, 4)).result(SECONDS)
    assert store.streams("data") == ["a", "b"]
    assert store.streams("data-sizes") == ["a"]
    assert store.streams("nothing") == []
    assert list(store.entries(StreamKey.of_data("a"))) == entries(1, 4)
    assert list(store.entries(StreamKey.of_sizes("a"))) == []
    assert store.runs() == []
    with pytest.raises(StoreWriteError, match="exists already"):
        store.create_stream(StreamKey.of_data("a")).result(SECONDS)
