"""Measurements that workers and users report beside a run; they are not part of its state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from chronos_common.engine import MetricSample
from chronos_common.store import Sample
from chronos_coordinator.ownership import StoreOwner


class Samples:
    """The measurements of all runs, in the store.

    Args:
        owner: holds the store.
        wall_clock: Unix seconds, for samples without a time.
    """

    def __init__(self, owner: StoreOwner, wall_clock: Callable[[], float]) -> None:
        self._owner = owner
        self._wall_clock = wall_clock

    async def add(self, run_id: str, samples: Sequence[MetricSample]) -> None:
        """Stores samples of a run."""
        now = self._wall_clock()
        stored = [
            Sample(
                run_id=run_id,
                name=s.name,
                worker_id=s.worker_id,
                version=s.version,
                time=s.time or now,
                value=s.value,
            )
            for s in samples
        ]
        await self._owner.write(lambda store: store.add_samples(stored))

    async def find(
        self, run_id: str, names: Sequence[str], after_version: int, limit: int
    ) -> list[MetricSample]:
        """Samples of a run, oldest first; no names are all, and ``after_version`` 0 is every version."""
        found = await asyncio.to_thread(self._owner.store.samples, run_id, list(names) or None)
        found = [sample for sample in found if sample.version > after_version or not after_version][:limit]
        return [
            MetricSample(name=s.name, value=s.value, version=s.version, worker_id=s.worker_id, time=s.time)
            for s in found
        ]
