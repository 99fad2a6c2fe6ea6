"""Between a clan and the store: how it is created, read back, kept short and checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chronos_common.clan.checking import Checker, ClanReport
from chronos_common.clan.definition import ClanDefinition, definition_from_json
from chronos_common.clan.job import ClanJob
from chronos_common.clan.records import Record, canonical, digest, record_from_parts, record_to_parts
from chronos_common.errors import CorruptStateError
from chronos_common.runtime import get_logger
from chronos_common.store import JournalEntry, Snapshot, Store, StreamKey

log = get_logger(__name__)

CREATED: Final = "created"


@dataclass(frozen=True, kw_only=True)
class LoadedClan:
    """A clan read back; ``snapshot`` is the entry of the newest one, 0 for none."""

    job: ClanJob
    head: int
    snapshot: int


def created_entry(definition: ClanDefinition, time: float) -> JournalEntry:
    """The first entry of a clan's journal."""
    return JournalEntry(seq=1, kind=CREATED, time=time, meta=canonical(definition.to_json()))


def record_entries(records: Sequence[Record], head: int, time: float) -> list[JournalEntry]:
    """Entries that follow ``head``, journalled at ``time`` (unix seconds)."""
    entries = []
    for seq, record in enumerate(records, start=head + 1):
        kind, meta = record_to_parts(record)
        entries.append(JournalEntry(seq=seq, kind=kind, time=time, meta=meta))
    return entries


def snapshot_of(clan_id: str, head: int, job: ClanJob) -> Snapshot:
    """A snapshot of a clan after an entry."""
    payload = canonical(job.state()).encode()
    return Snapshot(
        stream=StreamKey.of_clan(clan_id), seq=head, meta=canonical({"format": 1}), payload=payload
    )


def load_clan(store: Store, clan_id: str) -> LoadedClan:
    """Restores a clan from its newest snapshot that can be read, and folds what the journal has after it.

    Raises:
        CorruptStateError: the journal contradicts itself, or lacks its beginning.
    """
    stream = StreamKey.of_clan(clan_id)
    job, head = None, 0
    for seq in store.snapshot_seqs(stream):
        try:
            job, head = _restored(store, stream, seq), seq
            break
        except CorruptStateError as error:
            log.warning("snapshot passed over", clan=clan_id, entry=seq, error=str(error))
    snapshot = head
    for entry in store.entries(stream, after=head):
        if job is None:
            job = _created(entry)
        else:
            job.apply(record_from_parts(entry.kind, entry.meta))
        head = entry.seq
    if job is None:
        raise CorruptStateError(f"clan {clan_id!r} has an empty journal; restore it from a backup")
    return LoadedClan(job=job, head=head, snapshot=snapshot)


def verify_clan(store: Store, clan_id: str) -> ClanReport:
    """Replays what the store has of a clan, decides everything again, and compares; snapshots on the way too.

    Raises:
        StoreError: the store cannot be read.
    """
    stream = StreamKey.of_clan(clan_id)
    snapshots = sorted(store.snapshot_seqs(stream))
    entries = store.entries(stream)
    first = next(entries, None)
    begin, replayed = 0, 0
    try:
        if first is not None and first.seq == 1:
            checker, replayed = Checker(_created(first)), 1
        else:
            begin = snapshots[0] if snapshots else 0
            checker = Checker(_restored(store, stream, begin))
            entries = store.entries(stream, after=begin)
        problem, checked = _checked(store, stream, checker, entries, set(snapshots) - {begin})
    except CorruptStateError as error:
        return ClanReport(clean=False, rounds=0, entries=replayed, problem=str(error), from_entry=begin)
    return ClanReport(
        clean=not problem,
        rounds=checker.rounds,
        entries=replayed + checked,
        problem=problem,
        from_entry=begin,
        digest=digest(checker.job.clan),
    )


def _checked(
    store: Store, stream: StreamKey, checker: Checker, entries: Iterator[JournalEntry], snapshots: set[int]
) -> tuple[str, int]:
    """The first disagreement, and how many entries were replayed."""
    count = 0
    for entry in entries:
        count += 1
        problem = checker.take(record_from_parts(entry.kind, entry.meta))
        if problem:
            return f"entry {entry.seq}: {problem}", count
        if entry.seq in snapshots:
            kept = _restored(store, stream, entry.seq)
            if canonical(kept.state()) != canonical(checker.job.state()):
                return f"the snapshot at entry {entry.seq} is not what the journal leads to", count
    return checker.finish(), count


def _created(entry: JournalEntry) -> ClanJob:
    if entry.kind != CREATED:
        raise CorruptStateError(
            f"a clan's journal begins with entry {entry.seq} of kind {entry.kind!r}; restore it from a backup"
        )
    try:
        return ClanJob(definition_from_json(json.loads(entry.meta)))
    except ValueError as error:
        raise CorruptStateError(f"the definition of a clan cannot be read: {error}") from error


def _restored(store: Store, stream: StreamKey, seq: int) -> ClanJob:
    kept = store.snapshot(stream, seq)
    if kept is None:
        raise CorruptStateError(f"{stream} has no snapshot at entry {seq}; restore it from a backup")
    try:
        return ClanJob.restore(json.loads(kept.payload))
    except ValueError as error:
        raise CorruptStateError(f"the snapshot of {stream} at entry {seq} cannot be read: {error}") from error
