"""Between the engine's events and the store's entries: how a run is written down and read back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chronos_common.engine import (
    Created,
    Event,
    RunEngine,
    RunState,
    VerifyReport,
    VersionHistory,
    VersionRecord,
    fold,
    from_parts,
    start,
    to_parts,
    verify,
)
from chronos_common.engine.run import EngineLimits
from chronos_common.errors import ConfigurationError, CorruptStateError, PayloadError
from chronos_common.store import JournalEntry, Store, StreamKey


def to_entries(events: Sequence[Event], head: int, time: float) -> list[JournalEntry]:
    """Entries that follow ``head``, journalled at ``time`` (unix seconds)."""
    entries = []
    for seq, event in enumerate(events, start=head + 1):
        kind, meta, payload = to_parts(event)
        entries.append(JournalEntry(seq=seq, kind=kind, time=time, meta=meta, payload=payload))
    return entries


def to_event(entry: JournalEntry) -> Event:
    """The event of an entry."""
    return from_parts(entry.kind, entry.meta, entry.payload)


@dataclass(frozen=True, kw_only=True)
class LoadedRun:
    """A run read back: the engine at the journal's end, the head, and what watchers may still ask for."""

    engine: RunEngine
    head: int
    history: VersionHistory
    recent: deque[VersionRecord]


def load_run(store: Store, run_id: str, *, limits: EngineLimits, keep_versions: int) -> LoadedRun:
    """Replays a run's journal.

    Raises:
        CorruptStateError: the journal contradicts itself.
    """
    history = VersionHistory()
    recent: deque[VersionRecord] = deque(maxlen=keep_versions)
    state: RunState | None = None
    head = 0
    for entry in store.entries(StreamKey.of_run(run_id)):
        event = to_event(entry)
        if state is not None:
            state = fold(state, event)
        elif isinstance(event, Created):
            state = _started(run_id, event)
        else:
            raise CorruptStateError(f"the journal of run {run_id!r} does not begin with its creation")
        record = history.observe(event, entry.time)
        if record is not None:
            recent.append(record)
        head = entry.seq
    if state is None:
        raise CorruptStateError(f"run {run_id!r} is listed but its journal is empty")
    engine = RunEngine(run_id, state, limits=limits)
    return LoadedRun(engine=engine, head=head, history=history, recent=recent)


def _started(run_id: str, event: Created) -> RunState:
    try:
        return start(event)
    except (ConfigurationError, PayloadError) as error:
        raise CorruptStateError(
            f"the journal of run {run_id!r} begins with a run that cannot be: {error}"
        ) from error


def round_seconds(recent: Sequence[VersionRecord], window: int) -> list[float]:
    """Durations of the newest rounds, from the times of their journal entries."""
    times = [record.time for record in recent][-window - 1 :]
    return [max(0.0, after - before) for before, after in pairwise(times)]


def read_versions(store: Store, run_id: str, *, after: int, before: int) -> list[VersionRecord]:
    """Versions above ``after`` and below ``before``, from the journal."""
    history = VersionHistory()
    found = []
    for entry in store.entries(StreamKey.of_run(run_id)):
        record = history.observe(to_event(entry), entry.time)
        if record is not None and after < record.version < before:
            found.append(record)
    return found


def verify_run(store: Store, run_id: str) -> VerifyReport:
    """Replays a run from the store and compares every digest."""

    def events() -> Iterator[Event]:
        for entry in store.entries(StreamKey.of_run(run_id)):
            yield to_event(entry)

    return verify(events())
