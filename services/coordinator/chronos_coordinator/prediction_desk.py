"""Predictions of a coordinator: answers in a thread, reports in a journal of their own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from chronos_common.errors import ArtefactError, PredictionError, StoreError
from chronos_common.prediction.comparison import Outlook, Workload
from chronos_common.prediction.devices import DeviceSpec
from chronos_common.prediction.experience import Experience, MeasuredStep, steps_to_json, training_to_json
from chronos_common.runtime import get_logger
from chronos_common.store import PREDICTION_STREAM, JournalEntry, Snapshot, Store, StreamKey
from chronos_coordinator.ownership import StoreOwner

log = get_logger(__name__)

STREAM: Final = StreamKey(PREDICTION_STREAM, "reports")
SNAPSHOT_ENTRIES: Final = 64
"""Reports after which the experience is written down and those before are dropped."""


class PredictionDesk:
    """Answers for predictions. The predictor and the reports are read with the first question, not at the start.

    Args:
        owner: holds the store.
        wall_clock: unix seconds.
        snapshot_entries: reports between two snapshots.
    """

    def __init__(
        self,
        owner: StoreOwner,
        wall_clock: Callable[[], float] = time.time,
        *,
        snapshot_entries: int = SNAPSHOT_ENTRIES,
    ) -> None:
        self._owner = owner
        self._wall_clock = wall_clock
        self._snapshot_entries = snapshot_entries
        self._experience: Experience | None = None
        self._head = 0
        self._lock = asyncio.Lock()

    async def machines(self) -> Sequence[str]:
        """Names of machines that steps were reported of, sorted."""
        async with self._lock:
            return (await self._known()).machines

    async def predict(self, work: Workload, on: Sequence[DeviceSpec], measured_on: str) -> Sequence[Outlook]:
        """A training on each device, the shortest first.

        Raises:
            UnknownDeviceError: nothing was reported of that machine.
            BadWorkloadError: a number that cannot be.
        """
        async with self._lock:
            known = await self._known()
            return await asyncio.to_thread(known.outlooks, work, on, measured_on=measured_on)

    async def report_steps(self, machine: str, device: DeviceSpec, steps: Sequence[MeasuredStep]) -> int:
        """Takes measured steps in; how many are known of the machine when they are durable.

        Raises:
            BadWorkloadError: none were given, or a number that cannot be.
            StoreError: the report is not durable, or nobody can tell.
        """
        return await self._report(steps_to_json(machine, device, steps))

    async def report_training(self, work: Workload, epochs: float) -> int:
        """Takes a training in that stopped by itself; how many are known when it is durable.

        Raises:
            BadWorkloadError: it cannot have stopped by itself, or a number that cannot be.
            StoreError: the report is not durable, or nobody can tell.
        """
        return await self._report(training_to_json(work, epochs))

    async def _report(self, event: Mapping[str, Any]) -> int:
        async with self._lock:
            known = await self._known()
            # Refused before it is written; dropped again, with all else, where it did not become durable.
            found = await asyncio.to_thread(known.apply, event)
            entry = JournalEntry(
                seq=self._head + 1,
                kind=event["kind"],
                time=self._wall_clock(),
                meta=json.dumps(event, sort_keys=True, allow_nan=False),
            )
            try:
                await self._write(entry)
            except BaseException:
                self._experience = None
                raise
            self._head = entry.seq
            if self._head % self._snapshot_entries == 0:
                await self._shorten(known)
            return found

    async def _write(self, entry: JournalEntry) -> None:
        if entry.seq == 1:
            await self._owner.write(lambda store: store.create_stream(STREAM, [entry]))
        else:
            await self._owner.write(lambda store: store.append(STREAM, entry.seq - 1, [entry]))

    async def _shorten(self, known: Experience) -> None:
        payload = json.dumps(known.to_json(), sort_keys=True).encode()
        snapshot = Snapshot(stream=STREAM, seq=self._head, meta=json.dumps({"format": 1}), payload=payload)
        try:
            await self._owner.write(lambda store: store.save_snapshot(snapshot, keep=[]))
            await self._owner.write(lambda store: store.trim(STREAM, snapshot.seq))
        except StoreError as error:
            log.warning("reports to the predictor were not shortened", error=str(error))

    async def _known(self) -> Experience:
        if self._experience is not None:
            return self._experience
        found, self._head = await asyncio.to_thread(_load, self._owner.store)
        self._experience = found
        return found


def _load(store: Store) -> tuple[Experience, int]:
    """What the store remembers, and its newest entry; what cannot be read is logged and left out."""
    known, head = Experience(), 0
    for seq in store.snapshot_seqs(STREAM):
        kept = store.snapshot(STREAM, seq)
        try:
            if kept is not None:
                known, head = Experience.from_json(json.loads(kept.payload)), seq
                break
        except (ArtefactError, PredictionError, ValueError) as error:
            log.warning("snapshot of the predictor's reports passed over", entry=seq, error=str(error))
    for entry in store.entries(STREAM, after=head):
        try:
            known.apply(json.loads(entry.meta))
        except (ArtefactError, PredictionError, ValueError) as error:
            log.warning("report to the predictor passed over", entry=entry.seq, error=str(error))
        head = entry.seq
    return known, head
