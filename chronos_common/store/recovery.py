"""A run out of its store: the newest snapshot that restores, and the journal after it.

The one file of this package that knows what the bytes mean. A snapshot shortens the replay and is never believed
over the journal: what follows it is folded with every recorded digest. One that does not restore, or that the journal
contradicts, is passed over for the one before it, and at last for the whole journal, if nothing of that was dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from chronos_common.engine import (
    Created,
    Event,
    RunConfig,
    RunSnapshot,
    RunState,
    VerifyReport,
    VersionHistory,
    VersionRecord,
    fold,
    from_parts,
    from_snapshot,
    start,
    to_snapshot,
    verify,
)
from chronos_common.errors import (
    ConfigurationError,
    CorruptStateError,
    PayloadError,
    RunNotFoundError,
    StoreError,
)
from chronos_common.store.base import JournalEntry, RunRecord, Store, StreamKey

T = TypeVar("T")

ATTEMPTS: Final = 10
"""How often a run is read from its beginning when its coordinator, which goes on, drops what is being read."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Where a snapshot stands: its entry, and the version then."""

    seq: int
    version: int


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """A run at the end of its journal.

    Attributes:
        state: the run.
        history: of its versions.
        head: seq of its last entry.
        snapshot: the one that it was restored from, if any.
        recent: versions that the replay met, oldest first.
    """

    state: RunState
    history: VersionHistory
    head: int
    snapshot: Mark | None
    recent: deque[VersionRecord]


class MovedOnError(StoreError):
    """What was being read was replaced meanwhile, as in a run that goes on; reading it anew helps."""


def to_event(entry: JournalEntry) -> Event:
    """The event of an entry.

    Raises:
        CorruptStateError: the entry is damaged.
    """
    return from_parts(entry.kind, entry.meta, entry.payload)


def recover(
    store: Store,
    run_id: str,
    *,
    keep_versions: int = 0,
    damaged: Callable[[CorruptStateError], None] = lambda _: None,
) -> Recovered:
    """Restores a run and folds what came after.

    Args:
        store: where it is kept.
        run_id: identity.
        keep_versions: how many of the newest versions that the replay meets are returned.
        damaged: told of every snapshot that was passed over.

    Raises:
        RunNotFoundError: no such run.
        CorruptStateError: the journal contradicts itself, or what is left of it cannot be replayed.
        StoreError: the store cannot be read, or is changed faster than it can be read.
    """
    return _anew(lambda: _recovered(store, run_id, keep_versions, damaged))


def _recovered(
    store: Store, run_id: str, keep_versions: int, damaged: Callable[[CorruptStateError], None]
) -> Recovered:
    seqs = store.snapshot_seqs(StreamKey.of_run(run_id))
    record = _record(store, run_id)
    reasons = []
    for seq in seqs:
        try:
            restored = _restored(store, record, seq)
            return _replayed(store, run_id, restored, seq, keep_versions)
        except CorruptStateError as error:
            damaged(error)
            reasons.append(str(error))
    if record.trimmed:
        _require_untouched(store, record)
        raise CorruptStateError(
            f"the journal of run {run_id!r} was trimmed up to entry {record.trimmed}, and no snapshot restores what "
            f"was before; restore the store from a backup ({reasons[0] if reasons else 'there is no snapshot'})"
        )
    return _replayed(store, run_id, None, 0, keep_versions)


def verify_run(store: Store, run_id: str, *, from_snapshot: bool = False) -> VerifyReport:
    """Replays a run, compares every digest, and every kept snapshot with what the replay has at its entry.

    Args:
        store: where it is kept.
        run_id: identity.
        from_snapshot: begin at the newest snapshot and believe it, instead of at the first entry. Where that was
            dropped, the replay begins at the oldest snapshot there is.

    Raises:
        RunNotFoundError: no such run.
        StoreError: the store cannot be read, or is changed faster than it can be read.
    """

    def read() -> VerifyReport:
        # In this order: a snapshot is never after the end of a journal that is looked at later.
        seqs = store.snapshot_seqs(StreamKey.of_run(run_id))
        record = _record(store, run_id)
        report = _verified(store, record, seqs, from_snapshot=from_snapshot)
        if not report.clean:
            _require_untouched(store, record)
        return report

    return _anew(read)


def _anew(read: Callable[[], T]) -> T:
    """What a reader finds, once nothing is taken away under its hands."""
    for _ in range(ATTEMPTS - 1):
        try:
            return read()
        except MovedOnError:
            continue
    return read()


def _require_untouched(store: Store, record: RunRecord) -> None:
    """Raises ``MovedOnError`` if entries were dropped since the record was read: what looks damaged may be gone."""
    if _record(store, record.run_id).trimmed != record.trimmed:
        raise MovedOnError(f"entries of run {record.run_id!r} were dropped while it was read; ask again")


def _verified(store: Store, record: RunRecord, seqs: Sequence[int], *, from_snapshot: bool) -> VerifyReport:
    problems: list[str] = []
    begin = seqs[:1] if from_snapshot else seqs[::-1] if record.trimmed else []
    first: tuple[RunState, VersionHistory] | None = None
    at = 0
    for at in begin:
        try:
            first = _restored(store, record, at)
            break
        except CorruptStateError as error:
            problems.append(str(error))
    if begin and first is None:
        return VerifyReport(clean=False, versions=0, entries=0, problem=problems[0])
    if record.trimmed and first is None:
        missing = (
            f"the journal was trimmed up to entry {record.trimmed}, and there is no snapshot to begin at"
        )
        return VerifyReport(clean=False, versions=0, entries=0, problem=missing)
    checked = _Checked(store, record, [seq for seq in seqs if seq > at], problems)
    report = verify(checked.events(first, at), state=first and first[0], observe=checked.compare)
    problems += [f"there is a snapshot at entry {seq}, after the journal's end" for seq in checked.left]
    if report.clean and problems:
        report = replace(report, clean=False, problem=problems[0])
    return replace(report, snapshots=checked.proved, from_entry=at)


class _Checked:
    """A replay that compares the snapshots on its way."""

    def __init__(self, store: Store, record: RunRecord, seqs: Sequence[int], problems: list[str]) -> None:
        self._store = store
        self._record = record
        self._problems = problems
        self._history = VersionHistory()
        self._seq = 0
        self.left = set(seqs)
        self.proved = 0

    def events(self, first: tuple[RunState, VersionHistory] | None, after: int) -> Iterator[Event]:
        """The events after an entry; the history is fed before the fold has them."""
        if first is None:
            window = RunConfig.from_json(self._record.config).leases.window
            self._history = VersionHistory(kept_times=window + 1)
        else:
            self._history = first[1]
        for entry in self._store.entries(StreamKey.of_run(self._record.run_id), after):
            event = to_event(entry)
            self._seq = entry.seq
            self._history.observe(event, entry.time)
            yield event

    def compare(self, state: RunState) -> None:
        """Holds the state after an entry against the snapshot there, if one is kept."""
        if self._seq not in self.left:
            return
        self.left.discard(self._seq)
        run_id = self._record.run_id
        try:
            kept = to_snapshot(run_id, self._seq, *_restored(self._store, self._record, self._seq))
        except MovedOnError:
            return  # newer ones are kept in its place
        except CorruptStateError as error:
            self._problems.append(str(error))
            return
        if kept == to_snapshot(run_id, self._seq, state, self._history):
            self.proved += 1
        else:
            self._problems.append(f"the snapshot at entry {self._seq} holds another state than the journal")


def _record(store: Store, run_id: str) -> RunRecord:
    record = store.run(run_id)
    if record is None:
        known = ", ".join(record.run_id for record in store.runs()[:5]) or "none"
        raise RunNotFoundError(f"there is no run {run_id!r} in this store; it holds: {known}", run_id=run_id)
    return record


def _restored(store: Store, record: RunRecord, seq: int) -> tuple[RunState, VersionHistory]:
    """State and history of the snapshot at ``seq``; it belongs to this run and to what is left of its journal.

    Raises:
        CorruptStateError: it cannot be restored, or does not belong there.
        MovedOnError: there is none any more.
    """
    kept = store.snapshot(StreamKey.of_run(record.run_id), seq)
    if kept is None:
        raise MovedOnError(
            f"the snapshot of run {record.run_id!r} at entry {seq} was replaced while it was read; ask again"
        )
    if not record.trimmed <= seq <= record.head:
        raise CorruptStateError(
            f"the snapshot of run {record.run_id!r} at entry {seq} lies outside of its journal, which has entries "
            f"{record.trimmed + 1} to {record.head}",
            seq=seq,
        )
    restored = from_snapshot(record.run_id, RunSnapshot(seq=seq, meta=kept.meta, payload=kept.payload))
    if restored[0].config != RunConfig.from_json(record.config):
        raise CorruptStateError(
            f"the snapshot of run {record.run_id!r} at entry {seq} is of another definition", seq=seq
        )
    return restored


def _replayed(
    store: Store,
    run_id: str,
    restored: tuple[RunState, VersionHistory] | None,
    seq: int,
    keep_versions: int,
) -> Recovered:
    """The run after the entries behind ``seq``, folded onto what was restored."""
    state, history = (None, VersionHistory()) if restored is None else restored
    mark = None if state is None else Mark(seq=seq, version=state.version)
    recent: deque[VersionRecord] = deque(maxlen=keep_versions)
    for entry in store.entries(StreamKey.of_run(run_id), after=seq):
        event = to_event(entry)
        if state is not None:
            state = fold(state, event)
        elif isinstance(event, Created):
            state = _started(run_id, event)
            history = VersionHistory(kept_times=state.config.leases.window + 1)
        else:
            raise CorruptStateError(f"the journal of run {run_id!r} does not begin with its creation")
        record = history.observe(event, entry.time)
        if record is not None:
            recent.append(record)
        seq = entry.seq
    if state is None:
        raise CorruptStateError(f"run {run_id!r} is listed but its journal is empty")
    return Recovered(state=state, history=history, head=seq, snapshot=mark, recent=recent)


def _started(run_id: str, event: Created) -> RunState:
    try:
        return start(event)
    except (ConfigurationError, PayloadError) as error:
        raise CorruptStateError(
            f"the journal of run {run_id!r} begins with a run that cannot be: {error}"
        ) from error
