"""What workers were told of their commits against what the journal says: nothing lost, nothing doubled."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from chronos_common.engine import CommitRecord, from_parts
from chronos_common.store import StreamKey, open_store

Key = tuple[str, int, int]
"""Worker, incarnation, seq."""


def told_applied(lines: Iterable[str], run_id: str) -> Counter[Key]:
    """How often each commit's sender heard that it was applied, by the lines of the workers' logs."""
    told: Counter[Key] = Counter()
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # cut by a kill
        if entry.get("event") == "committed" and entry.get("run") == run_id:
            told[entry["worker"], entry["incarnation"], entry["seq"]] += 1
    return told


def applied(store: Path, run_id: str) -> Counter[Key]:
    """How often each commit is in the journal."""
    opened = open_store(store, read_only=True)
    try:
        entries = opened.entries(StreamKey.of_run(run_id))
        events = (from_parts(entry.kind, entry.meta, entry.payload) for entry in entries)
        return Counter((e.worker_id, e.incarnation, e.seq) for e in events if isinstance(e, CommitRecord))
    finally:
        opened.close()


def lost_or_doubled(store: Path, lines: Iterable[str], run_id: str, *, unheard: int) -> int:
    """Commits that the journal lacks though a worker was told of them, or that either side has twice.

    Args:
        store: the coordinator's directory, or a copy of it.
        lines: everything that all workers wrote.
        run_id: the run.
        unheard: commits that may be in the journal though nobody heard of them: a killed process may not have
            lived to hear, or to write, that its last commit was applied; and an answer that was lost with the
            coordinator may have been settled by the chain, once for each worker.
    """
    journal, told = applied(store, run_id), told_applied(lines, run_id)
    assert journal, "the journal holds no commit"
    assert len(journal.keys() - told.keys()) <= unheard
    doubled = sum(journal.values()) - len(journal) + sum(told.values()) - len(told)
    return doubled + len(told.keys() - journal.keys())
