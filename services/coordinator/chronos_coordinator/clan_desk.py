"""The clans of a coordinator: created, found, and freed of members that are gone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from chronos_common.clan.checking import ClanReport
from chronos_common.clan.definition import ClanDefinition
from chronos_common.clan.events import RoundClosed
from chronos_common.clan.history import RoundRecord
from chronos_common.clan.job import ClanJob
from chronos_common.clan.records import SILENT, SUPERSEDED, canonical
from chronos_common.clan.views import ClanView, FetchedRound, Place, clan_view
from chronos_common.errors import (
    ChronosError,
    ClanExistsError,
    ClanNotFoundError,
    CorruptStateError,
    IncarnationSupersededError,
    InvalidRequestError,
    WorkerUnknownError,
)
from chronos_common.fleet import Fleet, require_name
from chronos_common.runtime import get_logger
from chronos_common.store import CLAN_STREAM, StreamKey
from chronos_coordinator.clan_actor import ClanActor, ClanHooks
from chronos_coordinator.clan_journal import created_entry, verify_clan
from chronos_coordinator.config import CoordinatorConfig
from chronos_coordinator.ownership import StoreOwner

log = get_logger(__name__)

SNAPSHOT_FACTOR: Final = 4
"""A clan's entries are few and its rounds long; its snapshots hold the history of all of them."""


class ClanDesk:
    """Answers for all clans.

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
        hooks: ClanHooks,
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
        self._actors: dict[str, ClanActor] = {}
        self._lock = asyncio.Lock()
        self._verifying = asyncio.Lock()
        self._started = 0.0

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Reads every clan back; one that cannot be read is logged and left alone."""
        self._started = self._clock()
        for clan_id in await asyncio.to_thread(self._owner.store.streams, CLAN_STREAM):
            try:
                await self._serve(clan_id)
            except CorruptStateError as error:
                log.error("clan cannot be served", clan=clan_id, error=str(error))

    def drain(self) -> None:
        """Lets nobody wait any longer."""
        for actor in self._actors.values():
            actor.drain()

    async def stop(self) -> None:
        """Ends every actor."""
        await asyncio.gather(*(actor.stop() for actor in self._actors.values()))

    async def reap(self) -> None:
        """Ends the memberships of processes that are gone, and closes what has passed its deadline.

        After a restart everybody gets the time that a worker may be silent for.
        """
        settled = self._clock() >= self._started + self._timeout_seconds
        for actor in list(self._actors.values()):
            try:
                for member in actor.view().members:
                    await self._reap_member(actor, member.worker_id, member.incarnation, settled)
                if settled:
                    now = self._wall_clock()
                    await actor.submit(lambda job, now=now: job.overdue(now))  # type: ignore[misc]
            except ChronosError as error:
                log.warning("members could not be looked after", clan=actor.clan_id, error=str(error))

    # --- clans -----------------------------------------------------------------------------------

    async def create(self, clan_id: str, definition: ClanDefinition) -> ClanView:
        """Creates a clan, or finds the one that the same request created.

        Raises:
            ClanExistsError: the id is taken by a clan of another definition.
        """
        require_name(clan_id, "clan_id")
        async with self._lock:
            actor = self._actors.get(clan_id)
            if actor is None:
                entry = created_entry(definition, self._wall_clock())
                await self._owner.write(
                    lambda store: store.create_stream(StreamKey.of_clan(clan_id), [entry])
                )
                actor = await self._serve(clan_id)
                log.info("clan created", clan=clan_id, members=definition.config.population_size)
        view = actor.view()
        if view.definition != definition:
            raise ClanExistsError(
                f"clan {clan_id!r} exists with another definition; choose another id", clan_id=clan_id
            )
        return view

    def describe(self, clan_id: str) -> ClanView:
        """How a clan stands. Raises ``ClanNotFoundError``."""
        return self._of(clan_id).view()

    def clans(self) -> list[str]:
        """Ids of all clans that can be read, sorted."""
        return sorted(self._actors)

    def watch(self, clan_id: str) -> AsyncIterator[ClanView]:
        """How a clan stands, now and after each change."""
        return self._of(clan_id).watch()

    async def history(self, clan_id: str, first_round: int) -> list[RoundRecord]:
        """The rounds that have closed and are kept, oldest first."""
        return await self._of(clan_id).history(first_round)

    async def save(self, clan_id: str) -> bytes:
        """What a checkpoint has to keep."""
        return await self._of(clan_id).submit(lambda job: canonical(job.clan.to_json()).encode())

    async def restore(self, clan_id: str, state: bytes) -> ClanView:
        """Goes back to a checkpoint. Raises ``InvalidRequestError`` for one of something else."""
        actor = self._of(clan_id)
        try:
            parts = dict(json.loads(state))
        except (RecursionError, TypeError, ValueError) as error:
            raise InvalidRequestError(f"this is no state of a clan: {error}", field="state") from error
        await actor.submit(lambda job: job.rewind(parts))
        return actor.view()

    async def verify(self, clan_id: str) -> ClanReport:
        """What a replay of the journal finds; one at a time."""
        self._of(clan_id)
        async with self._verifying:
            return await asyncio.to_thread(verify_clan, self._owner.store, clan_id)

    # --- members -----------------------------------------------------------------------------------

    async def join(
        self, clan_id: str, worker: str, incarnation: int, member: int | None, address: str
    ) -> Place:
        """Gives a process a place; raises as ``ClanJob.join`` and ``Fleet.seen``."""
        actor = self._of(clan_id)
        self._fleet().seen(worker, incarnation, self._clock())
        now = self._wall_clock()

        def sit(job: ClanJob) -> Place:
            place = job.join(worker, incarnation, now=now, member=member, address=address)
            return Place(member=place, source=job.occupants[place].source, view=clan_view(clan_id, job))

        await self.reap()
        return await actor.submit(sit)

    async def leave(self, clan_id: str, worker: str, incarnation: int) -> None:
        """Ends a membership."""
        actor = self._of(clan_id)
        self._fleet().seen(worker, incarnation, self._clock())
        await actor.submit(lambda job: job.leave(worker, incarnation))

    async def remove(self, clan_id: str, worker: str, incarnation: int, member: int, epoch: int) -> int:
        """Ends the membership of who cannot be reached; raises as ``ClanJob.remove``."""
        actor = self._of(clan_id)
        self._fleet().seen(worker, incarnation, self._clock())
        log.warning("member of a clan cannot be reached", clan=clan_id, member=member, says=worker)
        return await actor.submit(lambda job: job.remove(worker, incarnation, member=member, epoch=epoch))

    async def fetch(self, clan_id: str, worker: str, incarnation: int, wait_seconds: float) -> FetchedRound:
        """The round that a member works on; raises as ``ClanActor.fetch``."""
        actor = self._of(clan_id)
        self._fleet().seen(worker, incarnation, self._clock())
        return await actor.fetch(worker, incarnation, wait_seconds)

    async def report(
        self, clan_id: str, worker: str, incarnation: int, number: int, fitness: float, genome_id: str
    ) -> bool:
        """Takes a fitness; whether the round has closed. Raises as ``ClanJob.report``."""
        actor = self._of(clan_id)
        self._fleet().seen(worker, incarnation, self._clock())
        await actor.submit(
            lambda job: job.report(worker, incarnation, number=number, fitness=fitness, genome_id=genome_id)
        )
        view = actor.view()
        return view.round > number or view.finished

    async def close(
        self, clan_id: str, worker: str, incarnation: int, number: int, wait_seconds: float
    ) -> RoundClosed:
        """What became of the members after a round; raises as ``ClanActor.close``."""
        actor = self._of(clan_id)
        self._fleet().seen(worker, incarnation, self._clock())
        return await actor.close(worker, incarnation, number, wait_seconds)

    # --- parts -------------------------------------------------------------------------------------

    async def _serve(self, clan_id: str) -> ClanActor:
        actor = ClanActor(
            clan_id,
            self._owner,
            snapshot_entries=self._snapshot_entries,
            hooks=self._hooks,
            wall_clock=self._wall_clock,
        )
        await actor.start()
        self._actors[clan_id] = actor
        return actor

    def _of(self, clan_id: str) -> ClanActor:
        actor = self._actors.get(clan_id)
        if actor is None:
            raise ClanNotFoundError(
                f"there is no clan {clan_id!r}; create it, or list the clans to see their ids",
                clan_id=clan_id,
            )
        return actor

    async def _reap_member(self, actor: ClanActor, worker: str, incarnation: int, settled: bool) -> None:
        if not worker:
            return
        reason = ""
        try:
            self._fleet().require_current(worker, incarnation)
            if settled and not self._fleet().is_live(worker, self._clock()):
                reason = SILENT
        except (IncarnationSupersededError, WorkerUnknownError):
            reason = SUPERSEDED
        if reason:
            await actor.submit(lambda job: job.leave(worker, incarnation, reason))
            log.warning("member of a clan is gone", clan=actor.clan_id, worker=worker, reason=reason)
