"""The data plans of a coordinator: created, found, and freed of members that are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Final

from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.job import DataJob
from chronos_common.data.source import DealtShare
from chronos_common.data.views import DataView
from chronos_common.errors import (
    ChronosError,
    CorruptStateError,
    DataPlanExistsError,
    DataPlanNotFoundError,
    IncarnationSupersededError,
    WorkerUnknownError,
)
from chronos_common.fleet import Fleet, require_name
from chronos_common.runtime import get_logger
from chronos_common.store import DATA_STREAM, SIZES_STREAM, StreamKey
from chronos_coordinator.config import CoordinatorConfig
from chronos_coordinator.data_actor import DataActor, DataHooks
from chronos_coordinator.data_journal import created_entry
from chronos_coordinator.ownership import StoreOwner

log = get_logger(__name__)

SNAPSHOT_FACTOR: Final = 10
"""A plan's entries are smaller than a run's: every worker writes one in each turn."""


class DataDesk:
    """Answers for all data plans.

    Args:
        owner: holds the store.
        fleet: of the coordinator, asked for each time since it is read back at the start.
        config: how long members are waited for after a restart, and how often snapshots are written.
        hooks: told about what became durable.
        clock: monotonic seconds.
        wall_clock: unix seconds.
    """

    def __init__(
        self,
        owner: StoreOwner,
        fleet: Callable[[], Fleet],
        config: CoordinatorConfig,
        hooks: DataHooks,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._owner = owner
        self._fleet = fleet
        self._timeout_seconds = config.fleet.timeout_seconds
        self._snapshot_entries = SNAPSHOT_FACTOR * config.actor.snapshot_entries
        self._hooks = hooks
        self._clock = clock
        self._wall_clock = wall_clock
        self._actors: dict[str, DataActor] = {}
        self._lock = asyncio.Lock()
        self._started = 0.0

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Reads every plan back; one that cannot be read is logged and left alone."""
        self._started = self._clock()
        for plan_id in await asyncio.to_thread(self._owner.store.streams, DATA_STREAM):
            try:
                await self._serve(plan_id)
            except CorruptStateError as error:
                log.error("data plan cannot be served", plan=plan_id, error=str(error))

    def drain(self) -> None:
        """Lets nobody wait any longer."""
        for actor in self._actors.values():
            actor.drain()

    async def stop(self) -> None:
        """Ends every actor."""
        await asyncio.gather(*(actor.stop() for actor in self._actors.values()))

    async def reap(self) -> None:
        """Ends the memberships of processes that are gone: silent, superseded, or said goodbye."""
        now = self._clock()
        for actor in list(self._actors.values()):
            for worker, member in list(actor.job.members.items()):
                if self._is_there(worker, member.incarnation, now):
                    continue
                try:
                    await actor.submit(partial(DataJob.leave, worker=worker, incarnation=member.incarnation))
                    log.warning("member of a data plan is gone", plan=actor.plan_id, worker=worker)
                except ChronosError as error:
                    log.warning("member could not be taken out", plan=actor.plan_id, error=str(error))

    # --- plans -----------------------------------------------------------------------------------

    async def create(self, plan_id: str, config: DataPlanConfig) -> DataView:
        """Creates a plan, or finds the one that the same request created.

        Raises:
            DataPlanExistsError: the id is taken by a plan of another definition.
        """
        require_name(plan_id, "plan_id")
        async with self._lock:
            actor = self._actors.get(plan_id)
            if actor is None:
                await self._create(plan_id, config)
                actor = await self._serve(plan_id)
                log.info("data plan created", plan=plan_id, samples=config.samples, workers=config.workers)
        if actor.job.config != config:
            raise DataPlanExistsError(
                f"data plan {plan_id!r} exists with another definition; choose another id", plan_id=plan_id
            )
        return actor.view()

    def describe(self, plan_id: str) -> DataView:
        """How a plan stands. Raises ``DataPlanNotFoundError``."""
        return self._of(plan_id).view()

    def plans(self) -> list[DataView]:
        """All plans that can be read, by id."""
        return [actor.view() for _, actor in sorted(self._actors.items())]

    async def add_sizes(self, plan_id: str, begin: int, payload: bytes, number_type: str, node: int) -> int:
        """Takes the sizes of a slice; raises as ``DataActor.add_sizes``."""
        return await self._of(plan_id).add_sizes(begin, payload, number_type, node)

    async def save(self, plan_id: str) -> bytes:
        """What a checkpoint has to keep; everything in it is durable."""
        return (await self._of(plan_id).submit(lambda job: job.save())).encode()

    async def restore(self, plan_id: str, state: bytes) -> DataView:
        """Goes back to a checkpoint. Raises ``InvalidRequestError`` for one of something else."""
        actor, text = self._of(plan_id), state.decode(errors="replace")
        await actor.submit(lambda job: job.rewind(text))
        return actor.view()

    # --- members -----------------------------------------------------------------------------------

    async def join(self, plan_id: str, worker: str, incarnation: int, rank: int, node: int) -> DataView:
        """Makes a process a member; raises as ``DataJob.join`` and ``Fleet.seen``."""
        actor = self._of(plan_id)
        self._fleet().seen(worker, incarnation, self._clock())
        await self.reap()
        await actor.submit(lambda job: job.join(worker, incarnation, rank, node))
        return actor.view()

    async def leave(self, plan_id: str, worker: str, incarnation: int) -> None:
        """Ends a membership."""
        actor = self._of(plan_id)
        self._fleet().seen(worker, incarnation, self._clock())
        await actor.submit(lambda job: job.leave(worker, incarnation))

    async def finish(
        self, plan_id: str, worker: str, incarnation: int, done: Sequence[tuple[int, float]]
    ) -> list[int]:
        """Takes (turn, seconds) of shares; those that had gone to others. Raises as ``DataJob.finish``."""
        actor = self._of(plan_id)
        self._fleet().seen(worker, incarnation, self._clock())
        return await actor.submit(lambda job: job.finish(worker, incarnation, done))

    def shares(
        self,
        plan_id: str,
        worker: str,
        incarnation: int,
        epoch: int,
        after_turn: int,
        wait_seconds: float | None,
    ) -> AsyncIterator[DealtShare]:
        """A member's shares of an epoch; raises as ``DataActor.shares``."""
        actor = self._of(plan_id)
        self._fleet().seen(worker, incarnation, self._clock())
        return actor.shares(worker, incarnation, epoch, after_turn, wait_seconds)

    # --- parts -------------------------------------------------------------------------------------

    async def _create(self, plan_id: str, config: DataPlanConfig) -> None:
        """The sizes' journal first: a plan is there when its own one is."""
        there = await asyncio.to_thread(self._owner.store.streams, SIZES_STREAM)
        if plan_id not in there:
            await self._owner.write(lambda store: store.create_stream(StreamKey.of_sizes(plan_id)))
        entry = created_entry(config, self._wall_clock())
        await self._owner.write(lambda store: store.create_stream(StreamKey.of_data(plan_id), [entry]))

    async def _serve(self, plan_id: str) -> DataActor:
        actor = DataActor(
            plan_id,
            self._owner,
            snapshot_entries=self._snapshot_entries,
            hooks=self._hooks,
            wall_clock=self._wall_clock,
        )
        await actor.start()
        self._actors[plan_id] = actor
        return actor

    def _of(self, plan_id: str) -> DataActor:
        actor = self._actors.get(plan_id)
        if actor is None:
            raise DataPlanNotFoundError(
                f"there is no data plan {plan_id!r}; create it, or list the plans to see their ids",
                plan_id=plan_id,
            )
        return actor

    def _is_there(self, worker: str, incarnation: int, now: float) -> bool:
        try:
            self._fleet().require_current(worker, incarnation)
        except (IncarnationSupersededError, WorkerUnknownError):
            return False
        return self._fleet().is_live(worker, now) or now < self._started + self._timeout_seconds
