"""Runs in a store, written without a coordinator."""

from __future__ import annotations

from collections.abc import Sequence

from chronos_common.engine import ACTIVE, Created, Event, VersionHistory, fold, start, to_parts, to_snapshot
from chronos_common.store import JournalEntry, MemoryStore, RunRecord, Snapshot, StreamKey
from tests.support.runs import RUN, Client, compressed, config


def journalled(events: Sequence[Event]) -> list[JournalEntry]:
    """Entries 1, 2, ... at the seconds 1, 2, ..."""
    return [
        JournalEntry(seq=seq, kind=kind, time=float(seq), meta=meta, payload=payload)
        for seq, (kind, meta, payload) in enumerate(map(to_parts, events), start=1)
    ]


def a_run(versions: int = 6, *, ended: bool = False) -> list[Event]:
    """Two workers, a compressed downlink, an open round at the end; every third commit measures nothing."""
    client = Client(config(quorum=2, compression=compressed(), size=48))
    for worker in "ab":
        client.checkout(worker)
    for number in range(versions):
        client.now += 1.0
        client.commit("a", float(number), metrics={"loss": float(number)} if number % 3 else {})
        client.commit("b", -float(number))
    client.commit("a", 9.0)
    if ended:
        client.engine.stop("enough")
        client.take()
    return client.events


def snapshot_at(events: Sequence[Event], seq: int, *, run_id: str = RUN) -> Snapshot:
    """What a coordinator keeps after so many entries."""
    first = events[0]
    assert isinstance(first, Created)
    state = start(first)
    history = VersionHistory(kept_times=state.config.leases.window + 1)
    for entry, event in zip(journalled(events[:seq]), events, strict=False):
        state = state if event is first else fold(state, event)
        history.observe(event, entry.time)
    made = to_snapshot(run_id, seq, state, history)
    return Snapshot(stream=StreamKey.of_run(run_id), seq=seq, meta=made.meta, payload=made.payload)


def stored(events: Sequence[Event], snapshots: Sequence[Snapshot] = (), *, trimmed: int = 0) -> MemoryStore:
    """A store with this run, these snapshots, and its first entries dropped."""
    store = MemoryStore()
    store.acquire("test")
    first = events[0]
    assert isinstance(first, Created)
    record = RunRecord(run_id=RUN, status=ACTIVE, config=first.config, created_at=0.0)
    store.create_run(record, journalled(events)).result()
    for snapshot in snapshots:
        store.save_snapshot(snapshot).result()
    if trimmed:
        store.trim(StreamKey.of_run(RUN), trimmed).result()
    return store
