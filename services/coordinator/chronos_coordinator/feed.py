"""What is durable of a run, and those who watch it grow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from chronos_common.engine import ACTIVE, Event, RunEngine, RunState, VersionHistory, VersionRecord
from chronos_common.errors import StoreError
from chronos_coordinator.journal import LoadedRun, read_versions
from chronos_coordinator.ownership import StoreOwner


class VersionFeed:
    """The durable half of an actor: nothing that others may see is ahead of it.

    Args:
        run_id: identity.
        owner: holds the store, for versions that are older than those in memory.
    """

    def __init__(self, run_id: str, owner: StoreOwner) -> None:
        self._run_id = run_id
        self._owner = owner
        self._loaded: LoadedRun | None = None
        self._durable: RunState | None = None
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def engine(self) -> RunEngine:
        """The engine that was loaded last; its state may be ahead of :attr:`durable`."""
        return self._require_loaded().engine

    @property
    def durable(self) -> RunState:
        """The run as the disk has it."""
        if self._durable is None:
            raise self._not_loaded()
        return self._durable

    @property
    def live(self) -> tuple[str, ...]:
        """Live members."""
        return self._loaded.engine.presence.live if self._loaded is not None else ()

    @property
    def history(self) -> VersionHistory:
        """Of everything that is durable."""
        return self._require_loaded().history

    @property
    def recent(self) -> list[VersionRecord]:
        """The newest versions, oldest first."""
        return list(self._require_loaded().recent)

    def load(self, loaded: LoadedRun) -> None:
        """Takes a run that was read back."""
        self._loaded, self._durable = loaded, loaded.engine.state
        self._wake()

    def advance(self, state: RunState, events: Sequence[Event], time: float) -> None:
        """Takes events that have become durable.

        Args:
            state: the run after them.
            events: in order.
            time: with which they were journalled, in unix seconds.
        """
        loaded = self._require_loaded()
        self._durable = state
        for event in events:
            record = loaded.history.observe(event, time)
            if record is not None:
                loaded.recent.append(record)
        self._wake()

    def close(self) -> None:
        """Ends everybody who watches, after what is durable already."""
        self._closed = True
        self._wake()

    async def versions(self, after: int) -> AsyncIterator[VersionRecord]:
        """Published versions above ``after``, as they come, until the run ends or the feed closes."""
        while True:
            changed = self._changed
            for record in await self._records(after):
                after = record.version
                yield record
            ended = self.durable.status != ACTIVE and after >= self.durable.version
            if ended or self._closed:
                return
            await changed.wait()

    def last_metrics(self) -> dict[str, float]:
        """Metrics of the newest version that has any."""
        return dict(self.history.metrics)

    async def _records(self, after: int) -> list[VersionRecord]:
        recent = self.recent
        oldest = recent[0].version if recent else self.durable.version + 1
        found: list[VersionRecord] = []
        if after + 1 < oldest:
            found = await asyncio.to_thread(
                read_versions, self._owner.store, self._run_id, after=after, before=oldest
            )
        return found + [record for record in recent if after < record.version]

    def _require_loaded(self) -> LoadedRun:
        if self._loaded is None:
            raise self._not_loaded()
        return self._loaded

    def _not_loaded(self) -> StoreError:
        return StoreError(f"run {self._run_id!r} is not loaded")

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
