"""Reading a run back: the newest snapshot that restores, and never less than the journal proves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from chronos_common.engine import Published
from chronos_common.engine.snapshot import _checksum
from chronos_common.errors import CorruptStateError, RunNotFoundError, StoreError
from chronos_common.store import (
    JournalEntry,
    MemoryStore,
    RunRecord,
    Snapshot,
    StreamKey,
    recover,
    verify_run,
)
from tests.support.runs import RUN, compressed, config, created
from tests.support.states import bits
from tests.support.stored_runs import a_run, snapshot_at, stored

EVENTS = a_run()
OTHER = config(quorum=2, compression=compressed(), size=48, max_versions=99)
"""Differs from that of the run in a number that no payload shows."""
LAST = len(EVENTS)
FIRST_VERSION = next(seq for seq, event in enumerate(EVENTS, start=1) if isinstance(event, Published))


def damaged(snapshot: Snapshot) -> Snapshot:
    return dataclasses.replace(snapshot, payload=snapshot.payload[:-1])


def forged(snapshot: Snapshot, **changes: Any) -> Snapshot:
    """Changed, and sealed again."""
    document = {**json.loads(snapshot.meta), **changes}
    del document["checksum"]
    document["checksum"] = _checksum(document, snapshot.payload)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return dataclasses.replace(snapshot, seq=document["seq"], meta=text)


@pytest.mark.parametrize("seq", range(1, LAST + 1))
def test_from_every_snapshot_a_run_comes_back_whole(seq: int) -> None:
    whole = recover(stored(EVENTS), RUN, keep_versions=100)
    found = recover(stored(EVENTS, [snapshot_at(EVENTS, seq)]), RUN, keep_versions=100)
    assert bits(found.state) == bits(whole.state)
    assert (found.head, found.snapshot and found.snapshot.seq) == (LAST, seq)
    assert whole.snapshot is None
    for name in ("open_commits", "metrics", "times", "kept_times"):
        assert bits(getattr(found.history, name)) == bits(getattr(whole.history, name)), name
    published = sum(isinstance(event, Published) for event in EVENTS[:seq])
    assert list(found.recent) == list(whole.recent)[published:]


def test_the_newest_snapshot_is_taken_and_older_ones_after_it() -> None:
    shots = [snapshot_at(EVENTS, seq) for seq in (5, 9)]
    told: list[CorruptStateError] = []
    cases: list[tuple[list[Snapshot], int, int]] = [
        (shots, 9, 0),
        ([shots[0], damaged(shots[1])], 5, 1),
        ([damaged(shots[0]), damaged(shots[1])], 0, 2),
        ([shots[0], forged(shots[1], run_id="another")], 5, 1),
        ([shots[0], forged(shots[1], config=config().to_json())], 5, 1),
        ([shots[0], forged(shots[1], config=OTHER.to_json())], 5, 1),
    ]
    whole = bits(recover(stored(EVENTS), RUN).state)
    for snapshots, seq, passed_over in cases:
        told.clear()
        found = recover(stored(EVENTS, snapshots), RUN, damaged=told.append)
        assert (found.snapshot.seq if found.snapshot else 0) == seq
        assert len(told) == passed_over
        assert bits(found.state) == whole


def test_a_sound_snapshot_that_the_journal_contradicts_is_passed_over() -> None:
    foreign = forged(snapshot_at(a_run(versions=7), 12), seq=9)
    told: list[CorruptStateError] = []
    found = recover(stored(EVENTS, [foreign]), RUN, damaged=told.append)
    assert found.snapshot is None
    assert "contradicts the journal before it" in str(told[0])
    assert bits(found.state) == bits(recover(stored(EVENTS), RUN).state)
    with pytest.raises(CorruptStateError, match="no snapshot restores"):
        recover(stored(EVENTS, [foreign], trimmed=FIRST_VERSION), RUN)


def test_a_trimmed_run_comes_back_from_its_snapshots_only() -> None:
    shots = [snapshot_at(EVENTS, seq) for seq in (FIRST_VERSION + 1, 9)]
    whole = bits(recover(stored(EVENTS), RUN).state)
    for snapshots, seq in ((shots, 9), ([shots[0], damaged(shots[1])], FIRST_VERSION + 1)):
        found = recover(stored(EVENTS, snapshots, trimmed=FIRST_VERSION), RUN)
        assert found.snapshot is not None
        assert found.snapshot.seq == seq
        assert bits(found.state) == whole
    newer = [damaged(shots[0]), forged(shots[1], revision=2)]
    for snapshots, reason in (
        ([damaged(each) for each in shots], "damaged at rest"),
        (newer, "run the release"),
    ):
        with pytest.raises(CorruptStateError, match=f"no snapshot restores .* at entry 9 .*{reason}"):
            recover(stored(EVENTS, snapshots, trimmed=FIRST_VERSION), RUN)


@pytest.mark.parametrize("events", [[created(config()), EVENTS[1], EVENTS[1]], EVENTS[:3] + EVENTS[4:]])
def test_a_journal_that_contradicts_itself_is_not_served(events: Any) -> None:
    with pytest.raises(CorruptStateError):
        recover(stored(events), RUN)


def test_a_run_that_is_not_there_is_named() -> None:
    for read in (recover, verify_run):
        with pytest.raises(RunNotFoundError, match="it holds: run"):
            read(stored(EVENTS), "another")  # type: ignore[operator]
        with pytest.raises(RunNotFoundError, match="it holds: none"):
            read(MemoryStore(), RUN)  # type: ignore[operator]


# --- verify ----------------------------------------------------------------------------------------------

VERSIONS = sum(isinstance(event, Published) for event in EVENTS)


def test_the_whole_journal_is_proved_and_every_snapshot_with_it() -> None:
    report = verify_run(stored(EVENTS, [snapshot_at(EVENTS, seq) for seq in (3, 8, LAST)]), RUN)
    assert (report.clean, report.problem) == (True, "")
    assert (report.entries, report.versions, report.snapshots) == (LAST, VERSIONS, 3)
    assert (report.from_entry, report.from_version) == (0, 0)


def test_only_what_follows_the_newest_snapshot_is_proved_on_request() -> None:
    shots = [snapshot_at(EVENTS, seq) for seq in (3, 8)]
    report = verify_run(stored(EVENTS, shots), RUN, from_snapshot=True)
    assert (report.clean, report.from_entry, report.snapshots) == (True, 8, 0)
    assert (report.entries, report.versions) == (LAST - 8, VERSIONS - report.from_version)
    assert report.from_version == sum(isinstance(event, Published) for event in EVENTS[:8])
    # Damage before it is not looked at, damage of it and after it is.
    report = verify_run(stored(EVENTS, [shots[0], damaged(shots[1])]), RUN, from_snapshot=True)
    assert not report.clean
    assert "entry 8" in report.problem
    assert verify_run(stored(EVENTS), RUN, from_snapshot=True).entries == LAST


def test_a_trimmed_journal_is_proved_from_the_oldest_snapshot_that_restores() -> None:
    shots = [snapshot_at(EVENTS, seq) for seq in (FIRST_VERSION + 1, 9)]
    report = verify_run(stored(EVENTS, shots, trimmed=FIRST_VERSION), RUN)
    assert (report.clean, report.from_entry, report.snapshots) == (True, FIRST_VERSION + 1, 1)
    report = verify_run(stored(EVENTS, [damaged(shots[0]), shots[1]], trimmed=FIRST_VERSION), RUN)
    assert (report.clean, report.from_entry) == (False, 9)
    assert f"entry {FIRST_VERSION + 1}" in report.problem
    store = stored(EVENTS, shots, trimmed=FIRST_VERSION)
    store._database.snapshots.clear()
    report = verify_run(store, RUN)
    assert (report.clean, report.entries) == (False, 0)
    assert "there is no snapshot to begin at" in report.problem


@pytest.mark.parametrize(
    ("name", "value"),
    [("accepted", 99), ("skipped", 1), ("timing", {"a": {"compute": 3.0}}), ("staleness", {"0": 1})],
)
def test_a_snapshot_that_holds_another_state_is_found(name: str, value: Any) -> None:
    """Counts that no digest covers, and a checksum that is right."""
    sound = snapshot_at(EVENTS, 8)
    state = json.loads(sound.meta)["state"]
    lying = forged(sound, state={**state, "totals": {**state["totals"], name: value}})
    report = verify_run(stored(EVENTS, [snapshot_at(EVENTS, 3), lying]), RUN)
    assert (report.clean, report.entries, report.snapshots) == (False, LAST, 1)
    assert report.problem == "the snapshot at entry 8 holds another state than the journal"


def test_a_snapshot_with_other_times_or_metrics_is_found() -> None:
    for change in ({"times": [1.0]}, {"metrics": {"loss": 0.5}}):
        report = verify_run(stored(EVENTS, [forged(snapshot_at(EVENTS, LAST), **change)]), RUN)
        assert "holds another state" in report.problem


def test_damaged_snapshots_are_findings_and_the_journal_is_proved_all_the_same() -> None:
    report = verify_run(stored(EVENTS, [damaged(snapshot_at(EVENTS, 5)), snapshot_at(EVENTS, 8)]), RUN)
    assert (report.clean, report.entries, report.snapshots) == (False, LAST, 1)
    assert "entry 5 cannot be restored" in report.problem


def test_a_snapshot_after_the_journals_end_is_found_and_not_used() -> None:
    store = stored(EVENTS, [snapshot_at(EVENTS, LAST)])
    journal = next(iter(store._database.journals.values()))
    del journal[-1]
    report = verify_run(store, RUN)
    assert (report.clean, report.problem) == (
        False,
        f"there is a snapshot at entry {LAST}, after the journal's end",
    )
    told: list[CorruptStateError] = []
    assert recover(store, RUN, damaged=told.append).snapshot is None
    assert "lies outside of its journal" in str(told[0])


def test_a_damaged_journal_is_found_after_a_snapshot_too() -> None:
    store = stored(EVENTS, [snapshot_at(EVENTS, 5)])
    journal = next(iter(store._database.journals.values()))
    journal[6] = dataclasses.replace(journal[6], meta="{}")
    for from_snapshot in (False, True):
        assert not verify_run(store, RUN, from_snapshot=from_snapshot).clean


# --- a run that goes on while it is read -------------------------------------------------------------------


class Moving:
    """A store whose coordinator goes on: after a reader has seen so many entries, something is taken away."""

    def __init__(self, store: MemoryStore, after: int, change: Callable[[MemoryStore], None]) -> None:
        self._store = store
        self._after = after
        self._change = change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def entries(self, stream: StreamKey, after: int = 0, limit: int | None = None) -> Iterator[JournalEntry]:
        for read, entry in enumerate(self._store.entries(stream, after, limit)):
            if read == self._after:
                self._change(self._store)
            yield entry


def replaces(seq: int, keep: Sequence[int], trimmed: int = 0) -> Callable[[MemoryStore], None]:
    """Keeps a snapshot beside some, and no others; then drops entries."""

    def change(store: MemoryStore) -> None:
        store.save_snapshot(snapshot_at(EVENTS, seq), keep=keep).result()
        if trimmed:
            store.trim(StreamKey.of_run(RUN), trimmed).result()

    return change


def test_a_snapshot_that_is_replaced_meanwhile_is_no_finding() -> None:
    store = stored(EVENTS, [snapshot_at(EVENTS, seq) for seq in (3, 8)])
    report = verify_run(Moving(store, 1, replaces(LAST, keep=(8,))), RUN)  # type: ignore[arg-type]
    assert (report.clean, report.problem) == (True, "")
    assert (report.entries, report.snapshots) == (LAST, 1)


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_a_snapshot_to_begin_at_that_is_replaced_meanwhile_is_looked_for_again(from_snapshot: bool) -> None:
    first = FIRST_VERSION + 1
    store = stored(EVENTS, [snapshot_at(EVENTS, first)], trimmed=FIRST_VERSION)
    listed = store.snapshot_seqs

    def lists(stream: StreamKey) -> list[int]:
        found = listed(stream)
        replaces(9, keep=())(store)
        return found

    store.snapshot_seqs = lists  # type: ignore[method-assign]
    report = verify_run(store, RUN, from_snapshot=from_snapshot)
    assert (report.clean, report.from_entry) == (True, 9)
    found = recover(store, RUN)
    assert found.snapshot is not None
    assert bits(found.state) == bits(recover(stored(EVENTS), RUN).state)


def test_entries_that_are_dropped_meanwhile_are_no_finding() -> None:
    """The journal of a run with retention loses its beginning between the look at it and the first read."""
    store = stored(EVENTS, [snapshot_at(EVENTS, 9)])
    read = store.run
    looks = 0

    def run(run_id: str) -> RunRecord | None:
        nonlocal looks
        looks += 1
        found = read(run_id)
        if looks == 1:
            store.trim(StreamKey.of_run(RUN), FIRST_VERSION).result()
        return found

    store.run = run  # type: ignore[method-assign]
    report = verify_run(store, RUN)
    assert (report.clean, report.from_entry) == (True, 9)


def test_a_run_that_changes_faster_than_it_can_be_read_is_not_called_damaged() -> None:
    store = stored(EVENTS, [snapshot_at(EVENTS, 9)], trimmed=FIRST_VERSION)
    store.snapshot = lambda stream, seq: None  # type: ignore[method-assign]
    for read in (recover, verify_run):
        with pytest.raises(StoreError, match="replaced while it was read; ask again"):
            read(store, RUN)  # type: ignore[operator]
