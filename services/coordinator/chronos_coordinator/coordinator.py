"""The coordinator without gRPC: runs, workers and the store behind one asynchronous face.

It owns the fleet and one actor per run. The handlers translate; everything that is decided is decided in
the engine; everything that is kept is kept in the store before anybody hears of it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from chronos_common.engine import (
    ACTIVE,
    CheckoutAnswer,
    CheckoutQuery,
    CommitAnswer,
    CommitQuery,
    MetricSample,
    RegistrationAnswer,
    RunConfig,
    RunView,
    VerifyReport,
    VersionRecord,
)
from chronos_common.errors import (
    ChronosError,
    CorruptStateError,
    DrainingError,
    PayloadError,
    RefusalError,
    RunNotActiveError,
    RunNotFoundError,
    UnavailableError,
    WaitExpiredError,
)
from chronos_common.fleet import Fleet
from chronos_common.prediction.machine import Machine
from chronos_common.runtime import get_logger
from chronos_common.store import Store, WorkerRecord
from chronos_coordinator.actor import RunActor
from chronos_coordinator.assignment import by_need, registration_of
from chronos_coordinator.clan_desk import ClanDesk
from chronos_coordinator.commit_log import log_commit
from chronos_coordinator.config import CoordinatorConfig
from chronos_coordinator.data_desk import DataDesk
from chronos_coordinator.memory_desk import MemoryDesk, WarmStart
from chronos_coordinator.observer import Observer
from chronos_coordinator.ownership import StoreOwner
from chronos_coordinator.peer_desk import PeerDesk
from chronos_coordinator.prediction_desk import PredictionDesk
from chronos_coordinator.runs import RunDirectory
from chronos_coordinator.samples import Samples
from chronos_coordinator.tallies import Tallies
from chronos_coordinator.verifying import Verifier
from chronos_coordinator.view import run_view, unreadable_view

log = get_logger(__name__)


class Coordinator:
    """Serves runs out of a store.

    Args:
        open_store: opens the store for writing; called in a thread by :meth:`start`, and again after the
            store failed.
        config: fleet and actor settings.
        observer: told about what happened, for metrics.
        clock: monotonic seconds.
        wall_clock: unix seconds.

    ``memory``, ``data``, ``clans``, ``prediction`` and ``peers`` answer for the other services.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        *,
        config: CoordinatorConfig | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._owner = StoreOwner(open_store, holder=f"{socket.gethostname()}:{os.getpid()}")
        self._config = config if config is not None else CoordinatorConfig()
        self._observer = observer if observer is not None else Observer()
        self._clock = clock
        self._wall_clock = wall_clock
        self._fleet = Fleet(self._config.fleet)
        self._runs = RunDirectory(
            self._owner,
            actor=self._config.actor,
            limits=self._config.limits,
            max_workers=self._config.fleet.max_workers,
            hooks=self._observer.hooks,
            clock=clock,
            wall_clock=wall_clock,
        )
        self.memory = MemoryDesk(self._runs, self._owner)
        shared = (self._owner, lambda: self._fleet, self._config)
        self.data = DataDesk(*shared, self._observer.data, clock, wall_clock)
        self.clans = ClanDesk(*shared, self._observer.clans, clock, wall_clock)
        self.prediction = PredictionDesk(self._owner, wall_clock)
        self.peers = PeerDesk(
            lambda: self._fleet, clock, max_wait_seconds=self._config.fleet.timeout_seconds / 2
        )
        self._working_on: dict[str, str] = {}
        self._typical: dict[str, float] = {}
        self._tallies = Tallies(self._owner, every_seconds=self._config.counts_seconds)
        self._samples = Samples(self._owner, wall_clock)
        self._verifier = Verifier(self._owner)
        self._registering = asyncio.Lock()
        self._reaper: asyncio.Task[None] | None = None

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Takes leadership, reads the fleet and every active run back, and begins to serve.

        Raises:
            LeadershipHeldError: another live coordinator owns the store.
            StoreError: it cannot be read.
        """
        epoch = await self._owner.open()
        self.peers.start(epoch)
        workers = await asyncio.to_thread(self._owner.store.workers)
        self._fleet = Fleet(self._config.fleet, map(registration_of, workers))
        self._tallies.start(await asyncio.to_thread(self._owner.store.runs))
        await self._runs.start()
        await self.data.start()
        await self.clans.start()
        self._reaper = asyncio.create_task(self._reap(), name="fleet")
        active = len(self._runs.active())
        log.info("coordinator started", epoch=epoch, active_runs=active, known_workers=len(workers))

    def drain(self) -> None:
        """Before a stop: checkouts that wait and watchers end now; what can be decided still is."""
        self._runs.drain()
        self.data.drain()
        self.clans.drain()
        self.peers.drain()

    async def stop(self) -> None:
        """Ends every actor after its batch under way, gives leadership up and closes the store."""
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.gather(self._reaper, return_exceptions=True)
        await self._runs.stop()
        await self.data.stop()
        await self.clans.stop()
        await self._tallies.stop()
        await self._owner.close()

    @property
    def fenced(self) -> asyncio.Event:
        """Set when another coordinator has taken over: this process must end."""
        return self._owner.fenced

    # --- runs ------------------------------------------------------------------------------------

    async def create_run(
        self, run_id: str, config: RunConfig, initial_payload: bytes, warm_start: WarmStart | None = None
    ) -> RunView:
        """Creates a run, or returns the one that was created by the same request.

        Raises:
            RunExistsError: the id is taken by a run of another definition.
            ConfigurationError, PayloadError: the definition or the initial values cannot work.
        """
        beginning = None if warm_start is None else lambda: self.memory.beginning(config, warm_start)
        actor = await self._runs.create(run_id, config, initial_payload, beginning)
        return await self.run_view(actor.run_id)

    async def run_view(self, run_id: str) -> RunView:
        """A run as clients see it. Raises ``RunNotFoundError``."""
        actor = await self._runs.get(run_id)
        record = await self._runs.record(run_id)
        tally = self._tallies.of(run_id)
        return run_view(
            record,
            actor.durable,
            live=actor.live,
            metrics=actor.last_metrics(),
            refused=tally.refused_in_time,
            duplicate=tally.duplicate,
            traffic=tally.traffic,
            pace=actor.pace,
        )

    async def list_runs(self) -> list[RunView]:
        """All runs, newest first; one whose journal is damaged with status ``"unreadable"`` and the damage."""
        records = await asyncio.to_thread(self._owner.store.runs)
        views = []
        for record in sorted(records, key=lambda r: r.created_at, reverse=True):
            try:
                views.append(await self.run_view(record.run_id))
            except CorruptStateError as error:
                log.error("run cannot be read", run=record.run_id, error=str(error))
                views.append(unreadable_view(record, str(error)))
        return views

    async def watch(self, run_id: str, after_version: int) -> AsyncIterator[tuple[VersionRecord | None, str]]:
        """Versions above ``after_version`` as they are published, then once (``None``, status) at the end."""
        actor = await self._runs.get(run_id)
        async for record in actor.versions(after_version):
            yield record, actor.durable.status
        if actor.durable.status == ACTIVE:
            raise UnavailableError("the coordinator is shutting down; watch again from the last version seen")
        yield None, actor.durable.status

    async def stop_run(self, run_id: str, reason: str) -> RunView:
        """Ends a run; an ended one stays as it is."""
        actor = await self._runs.get(run_id)
        await actor.end(reason or "stopped on request")
        return await self.run_view(run_id)

    async def verify_run(self, run_id: str, *, from_snapshot: bool = False) -> VerifyReport:
        """Replays a run's journal from the store and compares every digest and every snapshot."""
        await self._runs.record(run_id)
        return await self._verifier.verify(run_id, from_snapshot=from_snapshot)

    # --- workers ---------------------------------------------------------------------------------

    async def register(
        self, worker_id: str, instance_id: str, device: str, machine: Machine | None = None
    ) -> RegistrationAnswer:
        """Announces a worker process; the newest one of a worker id owns it.

        Raises:
            InvalidRequestError: a name that cannot be one.
            IncarnationSupersededError: a newer process owns the worker id.
            OverloadedError: no more workers may be alive at once.
        """
        async with self._registering:
            self._fleet.require_room(worker_id, self._clock())
            registration = self._fleet.decide_registration(worker_id, instance_id)
            record = WorkerRecord(
                worker_id=worker_id,
                incarnation=registration.incarnation,
                instance_id=instance_id,
                registered_at=self._wall_clock(),
            )
            await self._owner.write(lambda store: store.put_worker(record))
            superseded = self._fleet.register(registration, self._clock())
        if superseded:
            await self._leave(worker_id)
        self._typical[worker_id] = machine.typical_seconds if machine else 0.0
        log.info("worker registered", worker=worker_id, incarnation=registration.incarnation, device=device)
        self._observer.fleet(len(self._fleet.live(self._clock())))
        found = {actor.run_id: actor.durable.rounds.chains.get(worker_id) for actor in self._runs.active()}
        chains = {run_id: chain.last_applied for run_id, chain in found.items() if chain is not None}
        return RegistrationAnswer(incarnation=registration.incarnation, chains=chains)

    async def heartbeat(
        self, worker_id: str, incarnation: int, holding: Sequence[tuple[str, int]]
    ) -> list[str]:
        """Proves that a process lives; returns those of the runs it holds that have ended."""
        self._fleet.seen(worker_id, incarnation, self._clock())
        ended = []
        for run_id, base in holding:
            try:
                actor = await self._runs.get(run_id)
            except RunNotFoundError:
                ended.append(run_id)
                continue
            if actor.durable.status != ACTIVE:
                ended.append(run_id)
            elif self._working_on.setdefault(worker_id, run_id) == run_id:
                await actor.announce(worker_id, base)
        return ended

    async def deregister(self, worker_id: str, incarnation: int, reason: str) -> None:
        """A process says goodbye: its leases end at once."""
        self._fleet.left(worker_id, incarnation)
        await self._leave(worker_id)
        log.info("worker left", worker=worker_id, incarnation=incarnation, reason=reason)
        self._observer.fleet(len(self._fleet.live(self._clock())))

    async def checkout(self, query: CheckoutQuery) -> CheckoutAnswer:
        """Hands out the newest version of a run, or of any active run when none is named."""
        if query.worker_id:
            self._fleet.seen(query.worker_id, query.incarnation, self._clock())
        if not query.run_id:
            return await self._checkout_any(query)
        return await self._checkout_of(await self._runs.get(query.run_id), query)

    async def commit(self, run_id: str, query: CommitQuery) -> CommitAnswer:
        """Takes an update; the answer means that it is durable."""
        try:
            actor = await self._runs.get(run_id)
            current = self._fleet.current_incarnation(query.worker_id)
            if query.incarnation == current:
                self._fleet.seen(query.worker_id, current, self._clock())
            answer = await actor.commit(query, lambda: self._fleet.current_incarnation(query.worker_id))
        except (RefusalError, PayloadError) as error:
            known = self._runs.loaded(run_id) is not None
            if known:
                self._tallies.changed(run_id).refused[error.reason] += 1
            self._observer.refused(run_id if known else "", error.reason)
            log_commit(run_id, query, reason=error.reason)
            raise
        log_commit(run_id, query, answer)
        if answer.duplicate:
            self._tallies.changed(run_id).duplicate += 1
            self._observer.duplicate(run_id)
        if query.incarnation == current and self._working_on.setdefault(query.worker_id, run_id) != run_id:
            await actor.leave(query.worker_id)  # a late one, of a run that the worker has left
        return answer

    # --- metrics ---------------------------------------------------------------------------------

    def count_traffic(self, run_id: str, *, received: int, sent: int, dense_equivalent: int) -> None:
        """Adds the bytes of one call's messages to its run."""
        if self._runs.loaded(run_id) is not None:
            traffic = self._tallies.changed(run_id).traffic
            traffic.add(received=received, sent=sent, dense=dense_equivalent)
            self._observer.traffic(run_id, received, sent, dense_equivalent)

    async def report_metrics(self, run_id: str, samples: Sequence[MetricSample]) -> None:
        """Stores samples of a run; they are not part of its state."""
        await self._runs.get(run_id)
        await self._samples.add(run_id, samples)

    async def query_metrics(
        self, run_id: str, names: Sequence[str], after_version: int, limit: int
    ) -> list[MetricSample]:
        """Samples of a run, oldest first."""
        await self._runs.get(run_id)
        return await self._samples.find(run_id, names, after_version, limit)

    # --- parts -----------------------------------------------------------------------------------

    async def _checkout_any(self, query: CheckoutQuery) -> CheckoutAnswer:
        deadline = self._clock() + query.wait_seconds
        while True:
            created = self._runs.next_creation()
            for actor in by_need(self._runs.active(), query.worker_id, self._working_on.get(query.worker_id)):
                if actor.run_id in query.except_runs:
                    continue
                left = max(0.0, deadline - self._clock())
                try:
                    # Versions that the query names are of a run that it does not.
                    asked = replace(query, run_id=actor.run_id, known=None, min_version=0, wait_seconds=left)
                    return await self._checkout_of(actor, asked)
                except RunNotActiveError:
                    continue
            if self._runs.draining:
                raise DrainingError("the coordinator is shutting down; ask again")
            try:
                async with asyncio.timeout(max(0.0, deadline - self._clock())):
                    await created.wait()
            except TimeoutError:
                raise WaitExpiredError("there is no active run; create one, or wait for one") from None

    async def _checkout_of(self, actor: RunActor, query: CheckoutQuery) -> CheckoutAnswer:
        if query.worker_id:
            await self._assign(query.worker_id, actor.run_id)
            # A newer process may have registered meanwhile; from here on the actor knows when one does.
            self._fleet.require_current(query.worker_id, query.incarnation)
            query = replace(query, typical_seconds=self._typical.get(query.worker_id, 0.0))
        return await actor.checkout(query)

    async def _assign(self, worker_id: str, run_id: str) -> None:
        before = self._working_on.get(worker_id)
        self._working_on[worker_id] = run_id
        if before is not None and before != run_id:
            await self._leave_run(worker_id, before)

    async def _leave(self, worker_id: str) -> None:
        self.peers.gone(worker_id)
        run_id = self._working_on.pop(worker_id, None)
        if run_id is not None:
            await self._leave_run(worker_id, run_id)

    async def _leave_run(self, worker_id: str, run_id: str) -> None:
        actor = self._runs.loaded(run_id)
        if actor is not None and actor.serving:
            await actor.leave(worker_id)

    async def _reap(self) -> None:
        """Expels workers that have fallen silent, and says how many are wanted."""
        while True:
            self._observer.wanted(self._runs.wanted_workers())
            await asyncio.sleep(self._config.fleet.heartbeat_seconds / 2)
            for worker_id in self._fleet.expire(self._clock()):
                self._observer.lost()
                silence = self._config.fleet.timeout_seconds
                log.warning("worker fell silent", worker=worker_id, after_seconds=silence)
                try:
                    await self._leave(worker_id)
                except ChronosError as error:  # its run is being read back, without it
                    log.warning("worker not taken out of its run", worker=worker_id, error=str(error))
            await self.data.reap()
            await self.clans.reap()
            self._observer.fleet(len(self._fleet.live(self._clock())))
