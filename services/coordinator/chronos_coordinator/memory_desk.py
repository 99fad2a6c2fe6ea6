"""What runs remember, for clients: questions to one run's memory, and runs that a new one could begin from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from chronos_common.engine import Event, RunConfig, RunState
from chronos_common.engine.remembering import require_memory
from chronos_common.engine.views import MemoryView
from chronos_common.engine.warm_start import (
    AUTO,
    WarmStartCandidate,
    best_first,
    candidate,
    is_source,
    to_warm_started,
)
from chronos_common.errors import ChronosError, ConfigurationError
from chronos_common.outer.memory import ContinuumMemory, Neighbour, Prediction
from chronos_common.runtime import get_logger
from chronos_common.tensors import Arrays
from chronos_coordinator.ownership import StoreOwner
from chronos_coordinator.runs import RunDirectory

log = get_logger(__name__)

DEFAULT_WINDOW = 20
MAX_SOURCES = 100
"""Finished runs, the newest, that are looked at for a warm start; each has to be read back once."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """How a run shall begin: from ``run_id`` or ``"auto"``, with its optimiser's state or without."""

    run_id: str
    keep_optimizer: bool = False


class MemoryDesk:
    """Answers for the memories of all runs.

    Args:
        runs: finds a run's actor.
        owner: holds the store, for the list of runs.
    """

    def __init__(self, runs: RunDirectory, owner: StoreOwner) -> None:
        self._runs = runs
        self._owner = owner

    async def describe(self, run_id: str, window: int = 0) -> MemoryView:
        """How a memory stands. Raises ``RunNotFoundError``, ``MemoryOffError``."""
        memory = (await self._of(run_id))[0]
        regions = memory.regions
        return MemoryView(
            entries=len(memory),
            size_bytes=memory.size_bytes,
            max_entries=memory.config.max_entries,
            max_bytes=memory.config.max_bytes,
            counts=memory.counts,
            mean_cosine=memory.mean_cosine,
            trend=memory.loss_trend(window or DEFAULT_WINDOW),
            forbidden=tuple(zip(regions.versions, map(float, regions.radii), regions.reasons, strict=True)),
        )

    async def store(
        self, run_id: str, values: Arrays, gradient: Arrays, loss: float, source: str
    ) -> tuple[int, int]:
        """Stores an entry; its number and how many there are. Raises as ``RunEngine.remember``."""
        actor = await self._runs.get(run_id)
        after = await actor.remember(
            lambda engine: engine.remember(values, gradient, loss=loss, source=source)
        )
        return after.counts.stored, len(after)

    async def forbid(self, run_id: str, values: Arrays, radius: float, reason: str) -> int:
        """Marks λ as failed; how many places are. Raises as ``RunEngine.remember``."""
        actor = await self._runs.get(run_id)
        after = await actor.remember(
            lambda engine: engine.remember(values, None, radius=radius, source=reason)
        )
        return len(after.regions)

    async def similar(self, run_id: str, values: Arrays | None, k: int, metric: str) -> tuple[Neighbour, ...]:
        """Entries most like ``values``, or the newest version's; raises as ``ContinuumMemory``."""
        memory, state = await self._of(run_id)
        asked = state.published if values is None else values
        return await asyncio.to_thread(
            lambda: memory.retrieve_similar(asked, k or None, metric=metric or "distance")
        )

    async def predict(self, run_id: str, values: Arrays | None, k: int) -> Prediction:
        """The hypergradient expected at ``values``, or at the newest version's; raises as ``ContinuumMemory``."""
        memory, state = await self._of(run_id)
        asked = state.published if values is None else values
        return await asyncio.to_thread(lambda: memory.predict_gradient(asked, k or None))

    async def warm_starts(self, config: RunConfig, run_id: str = "") -> list[WarmStartCandidate]:
        """Runs that one of ``config`` could begin from, best first, then those that it could not."""
        found = await self._candidates(config, run_id)
        usable = best_first(found)
        return [*usable, *(c for _, c in found if c.problem)]

    async def beginning(self, config: RunConfig, wanted: WarmStart) -> Sequence[Event]:
        """What a run's journal begins with after its creation; nothing where ``"auto"`` finds no run.

        Raises:
            RunNotFoundError: there is no such run.
            ConfigurationError: it cannot be used, and why.
        """
        run_id = wanted.run_id
        if run_id == AUTO:
            usable = best_first(await self._candidates(config, ""))
            if not usable:
                return ()
            run_id = usable[0].run_id
        state = (await self._runs.get(run_id)).durable
        if not state.version:
            raise ConfigurationError(
                f"run {run_id!r} cannot warm-start this one: it has published no version", field="warm_start"
            )
        return (to_warm_started(config, run_id, state, keep_optimizer=wanted.keep_optimizer),)

    async def _candidates(self, config: RunConfig, run_id: str) -> list[tuple[float, WarmStartCandidate]]:
        if run_id:
            records = [await self._runs.record(run_id)]
        else:
            stored = await asyncio.to_thread(self._owner.store.runs)
            records = [record for record in stored if is_source(record.status)][-MAX_SOURCES:]
        found = []
        for record in records:
            try:
                actor = await self._runs.get(record.run_id)
            except ChronosError as error:
                if run_id:
                    raise
                log.warning("run cannot be looked at", run=record.run_id, error=str(error))
                continue
            offered = candidate(config, record.run_id, actor.durable, actor.last_metrics())
            found.append((record.created_at, offered))
        return found

    async def _of(self, run_id: str) -> tuple[ContinuumMemory, RunState]:
        state = (await self._runs.get(run_id)).durable
        return require_memory(run_id, state.memory), state
