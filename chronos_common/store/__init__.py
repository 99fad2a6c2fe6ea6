"""The durable store: journals of decisions, runs, workers, snapshots, samples.

``base.py`` holds the records and the interface :class:`Store`; ``sql.py`` implements it on SQL (``tables.py``
the schema, ``migrations/`` its history, ``schema.py`` the upgrade, ``writes.py`` the statements, ``writer.py``
group commit, ``dialect.py`` all that depends on the database, ``blobs.py`` large payloads, ``lock.py``
exclusive leadership); ``memory.py`` implements it without durability, for tests and use in one process.
``opening.py`` opens a store by its address; ``recovery.py`` reads a run back and proves it, the one file that knows
what the bytes mean.

To add a store: one file that satisfies :class:`Store` and a row in the contract test. To add a database: one
function in ``dialect.py`` and its scheme in ``opening.py``. To add a table or a column: see
``migrations/env.py``.
"""

from chronos_common.store.base import (
    CLAN_STREAM,
    DATA_STREAM,
    PREDICTION_STREAM,
    RUN_STREAM,
    SIZES_STREAM,
    JournalEntry,
    Observe,
    RunRecord,
    Sample,
    Snapshot,
    Store,
    StoreOptions,
    StreamKey,
    WorkerRecord,
)
from chronos_common.store.memory import MemoryStore
from chronos_common.store.opening import database_path, open_store
from chronos_common.store.recovery import Mark, Recovered, recover, to_event, verify_run
from chronos_common.store.sql import SqlStore

__all__ = [
    "CLAN_STREAM",
    "DATA_STREAM",
    "PREDICTION_STREAM",
    "RUN_STREAM",
    "SIZES_STREAM",
    "JournalEntry",
    "Mark",
    "MemoryStore",
    "Observe",
    "Recovered",
    "RunRecord",
    "Sample",
    "Snapshot",
    "SqlStore",
    "Store",
    "StoreOptions",
    "StreamKey",
    "WorkerRecord",
    "database_path",
    "open_store",
    "recover",
    "to_event",
    "verify_run",
]
