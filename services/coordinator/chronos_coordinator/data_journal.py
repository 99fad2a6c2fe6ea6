"""Between a data plan and the store: how it is created, read back, and kept short."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.events import DataEvent, from_parts, to_parts
from chronos_common.data.job import DataJob
from chronos_common.data.plan import Reals
from chronos_common.data.slices import Slices
from chronos_common.errors import CorruptStateError
from chronos_common.runtime import get_logger
from chronos_common.store import JournalEntry, Snapshot, Store, StreamKey

log = get_logger(__name__)

CREATED: Final = "created"
SLICE: Final = "slice"
TYPES: Final = ("<f4", "<f8")


@dataclass(frozen=True, kw_only=True)
class LoadedPlan:
    """A plan read back; ``snapshot`` is the entry of the newest one, 0 for none."""

    job: DataJob
    slices: Slices
    head: int
    sizes_head: int
    snapshot: int


def created_entry(config: DataPlanConfig, time: float) -> JournalEntry:
    """The first entry of a plan's journal."""
    return JournalEntry(seq=1, kind=CREATED, time=time, meta=config.to_json())


def event_entries(events: Sequence[DataEvent], head: int, time: float) -> list[JournalEntry]:
    """Entries that follow ``head``, journalled at ``time`` (unix seconds)."""
    entries = []
    for seq, event in enumerate(events, start=head + 1):
        kind, meta, payload = to_parts(event)
        entries.append(JournalEntry(seq=seq, kind=kind, time=time, meta=meta, payload=payload))
    return entries


def slice_entry(
    seq: int, begin: int, payload: bytes, number_type: str, node: int, time: float
) -> JournalEntry:
    """The entry of a slice of sizes: the numbers as they came."""
    meta = json.dumps({"begin": begin, "node": node, "type": number_type}, sort_keys=True)
    return JournalEntry(seq=seq, kind=SLICE, time=time, meta=meta, payload=payload)


def numbers(payload: bytes, number_type: str) -> Reals:
    """Sizes as float64, (n,)."""
    return np.frombuffer(payload, dtype=number_type).astype(np.float64)


def snapshot_of(plan_id: str, head: int, state: dict[str, object]) -> Snapshot:
    """A snapshot of a job's state after an entry."""
    meta = json.dumps({"format": 1}, sort_keys=True)
    payload = json.dumps(state, sort_keys=True, separators=(",", ":")).encode()
    return Snapshot(stream=StreamKey.of_data(plan_id), seq=head, meta=meta, payload=payload)


def load_plan(store: Store, plan_id: str) -> LoadedPlan:
    """Restores a plan from its newest snapshot that can be read, and folds what the journal has after it.

    Raises:
        CorruptStateError: the journal contradicts itself, or lacks its beginning.
    """
    stream = StreamKey.of_data(plan_id)
    job, head, snapshot = _restored(store, stream)
    for entry in store.entries(stream, after=head):
        if entry.kind == CREATED:
            job = DataJob(DataPlanConfig.from_json(entry.meta))
        elif job is None:
            raise CorruptStateError(f"data plan {plan_id!r} has no beginning; restore it from a backup")
        else:
            job.apply(from_parts(entry.kind, entry.meta, entry.payload))
        head = entry.seq
    if job is None:
        raise CorruptStateError(f"data plan {plan_id!r} has an empty journal; restore it from a backup")
    slices = Slices(job.config.samples, partitioned=job.config.partitioned)
    sizes_head = 0
    for entry in store.entries(StreamKey.of_sizes(plan_id)):
        begin, sizes, node = _slice(entry)
        slices.add(begin, sizes, node)
        sizes_head = entry.seq
    return LoadedPlan(job=job, slices=slices, head=head, sizes_head=sizes_head, snapshot=snapshot)


def _restored(store: Store, stream: StreamKey) -> tuple[DataJob | None, int, int]:
    for seq in store.snapshot_seqs(stream):
        try:
            kept = store.snapshot(stream, seq)
            if kept is not None:
                return DataJob.restore(json.loads(kept.payload)), seq, seq
        except (CorruptStateError, ValueError) as error:
            log.warning("snapshot passed over", plan=stream.id, entry=seq, error=str(error))
    return None, 0, 0


def _slice(entry: JournalEntry) -> tuple[int, Reals, int]:
    try:
        meta = json.loads(entry.meta)
        if entry.kind != SLICE or meta["type"] not in TYPES:
            raise ValueError(entry.kind)
        return int(meta["begin"]), numbers(entry.payload or b"", meta["type"]), int(meta["node"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptStateError(f"entry {entry.seq} of a plan's sizes cannot be read: {error!r}") from error
