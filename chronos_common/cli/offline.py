"""Reading a store directly, without a coordinator; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from chronos_common.engine import Event, RunState, VerifyReport, from_parts, replay, verify
from chronos_common.errors import RunNotFoundError
from chronos_common.store import Store, StreamKey, open_store


def verify_offline(path: str, run_id: str) -> VerifyReport:
    """Replays a run from the store at ``path`` and compares every digest.

    Raises:
        RunNotFoundError: the store has no such run.
        StoreError: it cannot be read.
    """
    with closing(open_store(path, read_only=True)) as store:
        return verify(_events(store, run_id))


def state_offline(path: str, run_id: str) -> RunState:
    """The state of a run at the end of its journal.

    Raises:
        RunNotFoundError: the store has no such run.
        CorruptStateError: the journal disagrees with its digests.
        StoreError: it cannot be read.
    """
    with closing(open_store(path, read_only=True)) as store:
        return replay(_events(store, run_id))


def _events(store: Store, run_id: str) -> Iterator[Event]:
    if store.run(run_id) is None:
        known = ", ".join(record.run_id for record in store.runs()[:5]) or "none"
        raise RunNotFoundError(f"there is no run {run_id!r} in this store; it holds: {known}", run_id=run_id)

    def events() -> Iterator[Event]:
        for entry in store.entries(StreamKey.of_run(run_id)):
            yield from_parts(entry.kind, entry.meta, entry.payload)

    return events()
