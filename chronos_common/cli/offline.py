"""Reading a store directly, without a coordinator; nothing is changed."""

from __future__ import annotations

from contextlib import closing

from chronos_common.engine import RunState, VerifyReport
from chronos_common.store import open_store, recover, verify_run


def verify_offline(path: str, run_id: str, *, from_snapshot: bool = False) -> VerifyReport:
    """Replays a run from the store at ``path`` and compares every digest.

    Raises:
        RunNotFoundError: the store has no such run.
        StoreError: it cannot be read.
    """
    with closing(open_store(path, read_only=True)) as store:
        return verify_run(store, run_id, from_snapshot=from_snapshot)


def state_offline(path: str, run_id: str) -> RunState:
    """The state of a run at the end of its journal.

    Raises:
        RunNotFoundError: the store has no such run.
        CorruptStateError: the journal disagrees with its digests.
        StoreError: it cannot be read.
    """
    with closing(open_store(path, read_only=True)) as store:
        return recover(store, run_id).state
