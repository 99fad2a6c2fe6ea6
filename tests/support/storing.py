"""Short ways to write records in tests of the store."""

from __future__ import annotations

from collections.abc import Sequence

from chronos_common.store import JournalEntry, RunRecord, Sample, Store, StreamKey


def entry(
    seq: int, payload: bytes | None = None, *, meta: str = "{}", kind: str = "accepted"
) -> JournalEntry:
    return JournalEntry(seq=seq, kind=kind, time=1000.0 + seq, meta=meta, payload=payload)


def entries(first: int, last: int) -> list[JournalEntry]:
    return [entry(seq, f"payload {seq}".encode()) for seq in range(first, last + 1)]


def record(run_id: str = "run", created_at: float = 1.5) -> RunRecord:
    return RunRecord(run_id=run_id, status="active", config='{"seed":0}', created_at=created_at)


def sample(name: str = "loss", value: float = 0.5, *, at: float = 10.0, run_id: str = "run") -> Sample:
    return Sample(run_id=run_id, name=name, worker_id="w0", version=3, time=at, value=value)


def leading(store: Store, runs: Sequence[str] = ("run",)) -> Store:
    """The store after it took leadership and created empty runs."""
    store.acquire("test")
    for run_id in runs:
        store.create_run(record(run_id)).result(timeout=30)
    return store


def journal(store: Store, run_id: str = "run") -> list[JournalEntry]:
    return list(store.entries(StreamKey.of_run(run_id)))
