"""One run, served: a single coroutine owns the engine, so commands never race.

Commands that wait are decided together, against the engine's state as it runs ahead; their events become
durable in one append; only then do answers, versions and metrics leave. One fsync serves everybody who
waited for the one before. If the append fails, or nobody can tell, the engine is thrown away and read back
from the store: no answer has left, so no promise is broken, and the clients' retries find the truth.

A checkout that must wait is parked with its deadline and tried again after every batch.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from chronos_common.engine import (
    CheckoutAnswer,
    CheckoutQuery,
    CommitAnswer,
    CommitQuery,
    CommitRecord,
    Ended,
    Event,
    PaceView,
    RunEngine,
    RunState,
    VersionRecord,
)
from chronos_common.errors import (
    ChronosError,
    CorruptStateError,
    DrainingError,
    FencedError,
    StoreError,
    StoreWriteError,
    UnavailableError,
    WaitExpiredError,
)
from chronos_common.runtime import get_logger
from chronos_common.store import Store, StreamKey
from chronos_common.versions import MustWait
from chronos_coordinator.config import ActorConfig
from chronos_coordinator.feed import VersionFeed
from chronos_coordinator.hooks import Hooks
from chronos_coordinator.jobs import Job, Parking
from chronos_coordinator.journal import LoadedRun, round_seconds, to_entries
from chronos_coordinator.ownership import StoreOwner
from chronos_coordinator.snapshots import Snapshots

log = get_logger(__name__)

T = TypeVar("T")


class RunActor:
    """Owns one run's engine.

    Args:
        run_id: identity.
        load: reads the run back from the store; called in a thread, at the start and after a failure.
        owner: holds the store where events become durable.
        clock: monotonic seconds.
        wall_clock: unix seconds, for the journal's timestamps.
    """

    def __init__(
        self,
        run_id: str,
        load: Callable[[], LoadedRun],
        owner: StoreOwner,
        *,
        config: ActorConfig | None = None,
        hooks: Hooks | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.run_id = run_id
        self._load = load
        self._owner = owner
        self._store: Store | None = None
        self._config = config if config is not None else ActorConfig()
        self._hooks = hooks if hooks is not None else Hooks()
        self._clock = clock
        self._wall_clock = wall_clock
        self._inbox: asyncio.Queue[Job] = asyncio.Queue()
        self._parking = Parking()
        self._feed = VersionFeed(run_id, owner)
        self._snapshots = Snapshots(
            run_id,
            owner,
            every_entries=self._config.snapshot_entries,
            retain_versions=self._config.retain_versions,
            tell=self._hooks.snapshot,
        )
        self._head = 0
        self._task: asyncio.Task[None] | None = None
        self._draining = False
        self._stopping = False
        self._ended_by: ChronosError = _shutting_down()
        self._decided_at = -math.inf
        """The time of the last decision: what falls due after it, be it in the past by now, is still to do."""

    # --- life ------------------------------------------------------------------------------------

    async def start(self, *, restarted: bool) -> None:
        """Reads the run and begins to serve it.

        Args:
            restarted: another process may have given leases that are still being worked under.
        """
        await self._reload(restarted=restarted)
        self._task = asyncio.create_task(self._serve(), name=f"run {self.run_id}")

    def drain(self) -> None:
        """Waits for nothing any more: parked checkouts and watchers end, commands that can be decided are."""
        self._draining = True
        self._nudge()
        self._feed.close()

    async def stop(self) -> None:
        """Finishes the batch under way and ends; what comes later is refused as unavailable."""
        self._draining = self._stopping = True
        self._nudge()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self._snapshots.stop()

    # --- commands --------------------------------------------------------------------------------

    async def checkout(self, query: CheckoutQuery) -> CheckoutAnswer:
        """A version, as soon as there is one to hand out.

        A worker has one checkout at a time: a newer one ends an older one that still waits.

        Raises:
            WaitExpiredError: there was none within ``query.wait_seconds``.
            UnavailableError: the worker asked again, or left, meanwhile.
            ChronosError: refused.
        """
        return await self._submit(
            lambda engine, now: engine.checkout(query, now),
            worker_id=query.worker_id,
            deadline=self._clock() + query.wait_seconds,
        )

    async def commit(self, query: CommitQuery, current_incarnation: Callable[[], int]) -> CommitAnswer:
        """Decides on a commit; the answer comes when it is durable. Raises the typed refusal.

        The incarnation is asked for when the decision is made: a newer process may register while the
        commit waits, and is told where the chain stands without it.
        """
        return await self._submit(lambda engine, now: engine.commit(query, current_incarnation(), now))

    async def announce(self, worker_id: str, base: int) -> None:
        """A heartbeat names the base that a member works on."""
        await self._submit(lambda engine, now: engine.announce(worker_id, base, now))

    async def leave(self, worker_id: str) -> None:
        """A worker is gone, or works elsewhere: its lease ends, and so does its waiting checkout."""

        def leave(engine: RunEngine, now: float) -> None:
            self._parking.end(worker_id, UnavailableError(f"worker {worker_id!r} has left this run"))
            engine.leave(worker_id, now)

        await self._submit(leave)

    async def remember(self, command: Callable[[RunEngine], T]) -> T:
        """Tells the run's memory something; the answer comes when it is durable."""
        return await self._submit(lambda engine, _now: command(engine))

    async def end(self, reason: str) -> None:
        """Stops the run."""
        await self._submit(lambda engine, _now: engine.stop(reason))

    # --- what others may see: durable only ---------------------------------------------------------

    @property
    def serving(self) -> bool:
        """Whether commands are taken."""
        return self._task is not None and not self._task.done()

    @property
    def durable(self) -> RunState:
        """The run as the disk has it."""
        return self._feed.durable

    @property
    def live(self) -> tuple[str, ...]:
        """Live members."""
        return self._feed.live

    def pace(self, worker_id: str) -> PaceView:
        """How long a worker takes, and is predicted to."""
        engine = self._feed.engine
        return engine.pacer.view(worker_id, engine.presence.live)

    def predicted_seconds(self) -> float:
        """Until the run finishes, if a version takes as long as the median worker's inner loop; 0 if unknown."""
        engine = self._feed.engine
        left = engine.config.max_versions - engine.state.version
        return max(0, left) * engine.pacer.typical_seconds(engine.presence.live)

    def versions(self, after: int) -> AsyncIterator[VersionRecord]:
        """Published versions above ``after``, as they come, until the run ends or the actor stops."""
        return self._feed.versions(after)

    def last_metrics(self) -> dict[str, float]:
        """Metrics of the newest version that has any."""
        return self._feed.last_metrics()

    # --- the loop --------------------------------------------------------------------------------

    async def _submit(
        self,
        command: Callable[[RunEngine, float], T | MustWait],
        *,
        worker_id: str = "",
        deadline: float = 0.0,
    ) -> T:
        if not self.serving:
            raise self._ended_by.with_traceback(None)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(Job(command=command, future=future, worker_id=worker_id, deadline=deadline))
        try:
            result: T = await future
        except asyncio.CancelledError:
            self._nudge()  # whoever hung up waits for nothing, and nobody must wait for them
            raise
        return result

    async def _serve(self) -> None:
        try:
            while not self._stopping:
                batch = await self._next_batch()
                try:
                    await self._process(batch)
                except (StoreError, UnavailableError) as error:
                    log.error(
                        "store failed; reloading the run",
                        run=self.run_id,
                        reason=error.reason,
                        error=str(error),
                    )
                    await self._recover(error)
                except Exception as error:
                    log.exception("a defect; reloading the run", run=self.run_id)
                    await asyncio.sleep(self._config.reload_seconds)
                    await self._recover(error)
        finally:
            self._fail_waiting(self._ended_by)
            for job in self._parking.take():
                job.fail(self._ended_by)
            self._feed.close()

    async def _next_batch(self) -> list[Job]:
        batch: list[Job] = []
        try:
            async with asyncio.timeout(self._seconds_to_next_event()):
                batch.append(await self._inbox.get())
        except TimeoutError:
            return batch
        while len(batch) < self._config.max_batch and not self._inbox.empty():
            batch.append(self._inbox.get_nowait())
        return batch

    def _seconds_to_next_event(self) -> float | None:
        times = (self._parking.next_deadline(), self._feed.engine.presence.next_event(self._decided_at))
        now = self._clock()
        return min((max(0.0, time - now) for time in times if time is not None), default=None)

    async def _process(self, batch: list[Job]) -> None:
        engine, now = self._feed.engine, self._clock()
        self._decided_at = now
        answered: list[Job] = []
        touched = list(batch)
        before = self._head
        try:
            for job in batch:
                self._require_only_checkout(job, engine, now)
                self._try(job, engine, now, answered)
            self._settle(engine, now, touched, answered)
            await self._persist(engine, engine.take_events())
        except BaseException as error:
            failure = StoreWriteError(f"the write was not confirmed ({error}); send the same request again")
            for job in touched:
                if job not in self._parking:
                    job.fail(failure)
            raise
        for job in answered:
            job.answer()
        if self._head > before:
            self._snapshots.offer(self._head, self._feed.durable, self._feed.history)
        self._hooks.waiting(self.run_id, len(self._parking))
        self._hooks.in_flight(self.run_id, engine.presence.leases_in_flight(now))
        self._hooks.lease(self.run_id, engine.presence.timer.lease_seconds())

    def _require_only_checkout(self, job: Job, engine: RunEngine, now: float) -> None:
        """A waiting checkout of a worker that asks again would take the lease away that this one is given."""
        newer = UnavailableError(f"worker {job.worker_id!r} has sent a newer checkout; that one is answered")
        if job.worker_id and self._parking.end(job.worker_id, newer):
            engine.stop_waiting(job.worker_id, now)

    def _settle(self, engine: RunEngine, now: float, touched: list[Job], answered: list[Job]) -> None:
        """Lets time pass, and those who wait try again: nothing that they do publishes a version."""
        engine.tick(now)
        waiting = self._parking.take()
        touched += waiting
        for job in waiting:
            self._try(job, engine, now, answered)

    def _try(self, job: Job, engine: RunEngine, now: float, answered: list[Job]) -> None:
        if job.abandoned:
            engine.stop_waiting(job.worker_id, now)
            return
        job.result = None
        try:
            job.result = job.command(engine, now)
        except Exception as error:  # noqa: BLE001  # the caller gets it, whatever it is
            job.error = error
        if isinstance(job.result, MustWait):
            if now < job.deadline and not self._draining:
                self._parking.add(job)
                return
            engine.stop_waiting(job.worker_id, now)
            job.error = _shutting_down() if self._draining else _wait_expired(job.result)
        answered.append(job)

    async def _persist(self, engine: RunEngine, events: Sequence[Event]) -> None:
        if not events:
            return
        wall = self._wall_clock()
        ended = next((event.status for event in events if isinstance(event, Ended)), None)
        entries = to_entries(events, self._head, wall)
        self._store = self._owner.store
        written = self._store.append(StreamKey.of_run(self.run_id), self._head, entries, status=ended)
        await asyncio.wrap_future(written)
        self._head += len(entries)
        self._feed.advance(engine.state, events, wall)
        self._hooks.committed(self.run_id, engine.state, events)
        for event in events:
            if isinstance(event, CommitRecord):
                self._hooks.paced(self.run_id, event.worker_id, self.pace(event.worker_id))

    # --- failure -----------------------------------------------------------------------------------

    async def _recover(self, error: Exception) -> None:
        """Throws the engine away and reads the run back, again and again until it can be."""
        failed = self._store
        while not self._stopping:
            try:
                if isinstance(error, StoreError | UnavailableError):
                    await self._owner.repair(failed, error)
                await self._reload(restarted=True)
            except (FencedError, CorruptStateError) as final:
                log.error("run can be served no more", run=self.run_id, reason=final.reason, error=str(final))
                self._ended_by, self._stopping = final, True
            except ChronosError as again:
                log.error(
                    "run cannot be reloaded yet", run=self.run_id, reason=again.reason, error=str(again)
                )
                error = again
                self._fail_waiting(again)
                await asyncio.sleep(self._config.reload_seconds)
            else:
                self._nudge()  # what was parked may find its answer in what was read back
                return

    def _fail_waiting(self, error: ChronosError) -> None:
        """Nothing can be decided now: nobody is kept waiting for that."""
        while not self._inbox.empty():
            self._inbox.get_nowait().fail(error)
        self._parking.fail_overdue(self._clock(), error)

    async def _reload(self, *, restarted: bool) -> None:
        loaded = await asyncio.to_thread(self._load)
        self._head = loaded.head
        self._feed.load(loaded)
        self._snapshots.loaded(loaded.snapshot)
        self._decided_at = -math.inf
        if restarted:
            loaded.engine.restarted(self._clock(), round_seconds(loaded.history.times))
        self._hooks.serving(self.run_id, loaded.engine.state, next(reversed(loaded.history.times), None))
        self._hooks.lease(self.run_id, loaded.engine.presence.timer.lease_seconds())

    def _nudge(self) -> None:
        """Lets the loop look at what waits."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        self._inbox.put_nowait(Job(command=lambda _engine, _now: None, future=future))


def _shutting_down() -> DrainingError:
    return DrainingError("the coordinator is shutting down; ask again")


def _wait_expired(wait: MustWait) -> WaitExpiredError:
    return WaitExpiredError(f"{wait.reason}; ask again, or allow a longer wait")
