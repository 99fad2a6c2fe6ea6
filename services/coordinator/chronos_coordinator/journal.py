"""Between the engine's events and the store's entries: how a run is written down and read back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from chronos_common.engine import Event, Published, RunEngine, VersionHistory, VersionRecord, to_parts
from chronos_common.engine.run import EngineLimits
from chronos_common.errors import CorruptStateError
from chronos_common.runtime import get_logger
from chronos_common.store import JournalEntry, Mark, Store, StreamKey, recover, to_event

log = get_logger(__name__)

_PROBE_ENTRIES: Final = 16
"""Entries that are read at a time to find out which version the journal is at."""


def to_entries(events: Sequence[Event], head: int, time: float) -> list[JournalEntry]:
    """Entries that follow ``head``, journalled at ``time`` (unix seconds)."""
    entries = []
    for seq, event in enumerate(events, start=head + 1):
        kind, meta, payload = to_parts(event)
        entries.append(JournalEntry(seq=seq, kind=kind, time=time, meta=meta, payload=payload))
    return entries


@dataclass(frozen=True, kw_only=True)
class LoadedRun:
    """A run read back: the engine at the journal's end, the head, and what watchers may ask for without a read.

    ``snapshot`` is the one that it was restored from; versions before it are read from the journal when they are
    asked for.
    """

    engine: RunEngine
    head: int
    history: VersionHistory
    recent: deque[VersionRecord]
    snapshot: Mark | None


def load_run(store: Store, run_id: str, *, limits: EngineLimits, keep_versions: int) -> LoadedRun:
    """Restores a run from its newest snapshot and replays what the journal has after it.

    Raises:
        CorruptStateError: the journal contradicts itself.
    """

    def damaged(error: CorruptStateError) -> None:
        log.warning("snapshot passed over", run=run_id, reason=error.reason, error=str(error))

    found = recover(store, run_id, keep_versions=keep_versions, damaged=damaged)
    return LoadedRun(
        engine=RunEngine(run_id, found.state, limits=limits),
        head=found.head,
        history=found.history,
        recent=found.recent,
        snapshot=found.snapshot,
    )


def round_seconds(times: Iterable[float]) -> list[float]:
    """Durations of the newest rounds, from the times of their journal entries."""
    return [max(0.0, after - before) for before, after in pairwise(times)]


def read_versions(store: Store, run_id: str, *, after: int, before: int) -> list[VersionRecord]:
    """Versions above ``after`` and below ``before``, as far as the journal still has them."""
    history = VersionHistory()
    found = []
    for entry in store.entries(StreamKey.of_run(run_id), after=entry_before(store, run_id, after)):
        record = history.observe(to_event(entry), entry.time)
        if record is not None and record.version >= before:
            break
        if record is not None and record.version > after:
            found.append(record)
    return found


def entry_of(store: Store, run_id: str, version: int) -> int:
    """The seq of the entry that published ``version``; 0 if the journal does not have it."""
    begin = entry_before(store, run_id, version - 1)
    for seq, published in _publications(store, run_id, begin):
        if published >= version:
            return seq if published == version else 0
    return 0


def entry_before(store: Store, run_id: str, version: int) -> int:
    """A seq from which on the rounds after ``version`` are whole, found without reading the journal through.

    Versions are in order, so that the place is narrowed down by halves, to within a few entries before it.
    """
    record = store.run(run_id)
    low, high = (0, 0) if record is None else (record.trimmed, record.head)
    while high - low > _PROBE_ENTRIES:
        middle = (low + high) // 2
        seq, published = next(_publications(store, run_id, middle), (high, version + 1))
        if published <= version:
            low = seq
        else:
            high = middle
    return low


def _publications(store: Store, run_id: str, after: int) -> Iterator[tuple[int, int]]:
    """(seq, version) of the versions in the journal behind an entry, a few entries read at a time."""
    while True:
        seq = after
        for entry in store.entries(StreamKey.of_run(run_id), after=after, limit=_PROBE_ENTRIES):
            event = to_event(entry)
            if isinstance(event, Published):
                yield entry.seq, event.version
            seq = entry.seq
        if seq == after:
            return
        after = seq
