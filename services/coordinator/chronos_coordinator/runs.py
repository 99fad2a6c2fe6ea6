"""The runs of a coordinator: an actor for each, made when a run is created, read back or first asked for."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from chronos_common.engine import ACTIVE, Created, EngineLimits, Event, RunConfig, RunState, start
from chronos_common.errors import ConfigurationError, CorruptStateError, RunExistsError, RunNotFoundError
from chronos_common.fleet import require_name
from chronos_common.runtime import get_logger
from chronos_common.store import RunRecord
from chronos_coordinator.actor import RunActor
from chronos_coordinator.config import ActorConfig
from chronos_coordinator.hooks import Hooks
from chronos_coordinator.journal import LoadedRun, load_run, to_entries
from chronos_coordinator.ownership import StoreOwner

log = get_logger(__name__)

REREAD_SECONDS: Final = 30.0
"""A run that could not be read is read again after this long at the earliest: its workers ask several times a second,
and reading may mean to replay the whole journal."""


class RunDirectory:
    """Finds the actor of a run.

    Args:
        owner: holds the store where runs are kept.
        actor: settings of every actor.
        limits: what an engine admits.
        max_workers: that may be alive at once; no run can have a larger quorum.
        hooks: told about what became durable.
        clock: monotonic seconds.
        wall_clock: unix seconds.
    """

    def __init__(
        self,
        owner: StoreOwner,
        *,
        actor: ActorConfig,
        limits: EngineLimits,
        max_workers: int,
        hooks: Hooks,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._owner = owner
        self._actor_config = actor
        self._limits = limits
        self._max_workers = max_workers
        self._hooks = hooks
        self._clock = clock
        self._wall_clock = wall_clock
        self._actors: dict[str, RunActor] = {}
        self._unreadable: dict[str, tuple[float, CorruptStateError]] = {}
        self._lock = asyncio.Lock()
        self._created = asyncio.Event()
        self._draining = False

    async def start(self) -> None:
        """Reads every active run back; one that cannot be read is logged and left alone."""
        for record in await asyncio.to_thread(self._owner.store.runs):
            if record.status != ACTIVE:
                continue
            try:
                await self._serve(record.run_id, restarted=True)
            except CorruptStateError as error:
                log.error("run cannot be served", run=record.run_id, reason=error.reason, error=str(error))

    def drain(self) -> None:
        """Lets nobody wait any longer."""
        self._draining = True
        for actor in self._actors.values():
            actor.drain()
        self._announce()

    @property
    def draining(self) -> bool:
        """Whether the coordinator is about to stop."""
        return self._draining

    async def stop(self) -> None:
        """Ends every actor and everybody who waits for a run."""
        await asyncio.gather(*(actor.stop() for actor in self._actors.values()))
        self._announce()

    async def create(
        self,
        run_id: str,
        config: RunConfig,
        initial_payload: bytes,
        beginning: Callable[[], Awaitable[Sequence[Event]]] | None = None,
    ) -> RunActor:
        """Creates a run, or finds the one that the same request created.

        Args:
            run_id: identity; empty makes one up.
            config: the definition.
            initial_payload: the values of version 0.
            beginning: what follows the creation in the journal, asked for where there is no such run yet.

        Raises:
            RunExistsError: the id is taken by a run of another definition.
            ConfigurationError, PayloadError: the definition or the initial values cannot work.
        """
        run_id = run_id or f"run-{uuid.uuid4().hex[:12]}"
        require_name(run_id, "run_id")
        created = Created(config=config.to_json(), payload=bytes(initial_payload))
        first = start(created)
        follows: Sequence[Event] = ()
        if beginning is not None and await asyncio.to_thread(self._owner.store.run, run_id) is None:
            follows = await beginning()
        async with self._lock:
            if await asyncio.to_thread(self._owner.store.run, run_id) is not None:
                actor = self._actors.get(run_id) or await self._serve(run_id, restarted=True)
                _require_same(actor, first)
                return actor
            self._require_reachable(config)
            now = self._wall_clock()
            record = RunRecord(run_id=run_id, status=ACTIVE, config=created.config, created_at=now, head=1)
            entries = to_entries([created, *follows], 0, now)
            await self._owner.write(lambda store: store.create_run(record, entries))
            actor = await self._serve(run_id, restarted=False)
        log.info("run created", run=run_id, problem=config.work.problem, parameters=len(config.parameters))
        return actor

    async def get(self, run_id: str) -> RunActor:
        """The actor of a run. Raises ``RunNotFoundError``."""
        actor = self._actors.get(run_id)
        if actor is not None:
            return actor
        require_name(run_id, "run_id")
        await self.record(run_id)
        async with self._lock:
            return self._actors.get(run_id) or await self._serve(run_id, restarted=True)

    async def record(self, run_id: str) -> RunRecord:
        """The stored record of a run. Raises ``RunNotFoundError``."""
        record = await asyncio.to_thread(self._owner.store.run, run_id)
        if record is None:
            raise RunNotFoundError(
                f"there is no run {run_id!r}; list the runs to see their ids", run_id=run_id
            )
        return record

    def loaded(self, run_id: str) -> RunActor | None:
        """The actor of a run that is in memory."""
        return self._actors.get(run_id)

    def active(self) -> list[RunActor]:
        """Active runs in memory, in no order that means anything."""
        return [a for a in self._actors.values() if a.serving and a.durable.status == ACTIVE]

    def wanted_workers(self) -> int:
        """Workers that the active runs ask for: their quorums; a run without one asks for 1 and takes what it gets."""
        return sum(actor.durable.config.rounds.quorum or 1 for actor in self.active())

    def next_creation(self) -> asyncio.Event:
        """Set when the next run is created or read back, or the directory stops."""
        return self._created

    async def _serve(self, run_id: str, *, restarted: bool) -> RunActor:
        def load() -> LoadedRun:
            return load_run(
                self._owner.store, run_id, limits=self._limits, keep_versions=self._actor_config.keep_versions
            )

        actor = RunActor(
            run_id,
            load,
            self._owner,
            config=self._actor_config,
            hooks=self._hooks,
            clock=self._clock,
            wall_clock=self._wall_clock,
        )
        await self._start(actor, restarted=restarted)
        self._actors[run_id] = actor
        self._announce()
        return actor

    async def _start(self, actor: RunActor, *, restarted: bool) -> None:
        """Reads a run, or says again, for a while, why it cannot be read."""
        until, refusal = self._unreadable.get(actor.run_id, (-math.inf, None))
        if refusal is not None and self._clock() < until:
            raise refusal.with_traceback(None)
        try:
            await actor.start(restarted=restarted)
        except CorruptStateError as error:
            self._unreadable[actor.run_id] = (self._clock() + REREAD_SECONDS, error)
            raise
        self._unreadable.pop(actor.run_id, None)

    def _require_reachable(self, config: RunConfig) -> None:
        quorum = config.rounds.quorum
        if quorum is not None and quorum > self._max_workers:
            raise ConfigurationError(
                f"quorum is {quorum}, above the {self._max_workers} workers that this coordinator admits at once "
                "(fleet.max_workers): no version could ever have it; lower the quorum or raise that limit",
                field="config.rounds.quorum",
            )

    def _announce(self) -> None:
        created, self._created = self._created, asyncio.Event()
        created.set()


def _require_same(actor: RunActor, first: RunState) -> None:
    """The journal may have lost its first entry; the state remembers what it was."""
    found = actor.durable
    if (found.config, found.origin) != (first.config, first.origin):
        raise RunExistsError(
            f"run {actor.run_id!r} exists with another definition or other initial values; choose another id",
            run_id=actor.run_id,
        )
