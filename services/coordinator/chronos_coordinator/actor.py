"""One run, served: a single coroutine owns the engine, so commands never race.

Commands that wait are decided together, against the engine's state as it runs ahead; their events become
durable in one append; only then do answers, versions and metrics leave. One fsync serves everybody who
waited for the one before. If the append fails, or nobody can tell, the engine is thrown away and read back
from the store: no answer has left, so no promise is broken, and the clients' retries find the truth.

A checkout that must wait is parked here with its deadline and tried again after every batch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from chronos_common.engine import (
    ACTIVE,
    CheckoutAnswer,
    CheckoutQuery,
    CommitAnswer,
    CommitQuery,
    Ended,
    Event,
    RunEngine,
    RunState,
    VersionRecord,
)
from chronos_common.errors import (
    ChronosError,
    DrainingError,
    FencedError,
    StoreError,
    StoreWriteError,
    WaitExpiredError,
)
from chronos_common.store import Store, StreamKey
from chronos_common.versions import MustWait
from chronos_coordinator.journal import LoadedRun, read_versions, round_seconds, to_entries
from chronos_coordinator.ownership import StoreOwner

log = structlog.get_logger(__name__)

Command = Callable[[RunEngine, float], Any]
T = TypeVar("T")


@dataclass(kw_only=True)
class _Job:
    """A command, the future of its answer, and (for a parked one) who gives up when."""

    command: Command
    future: asyncio.Future[Any]
    worker_id: str = ""
    deadline: float = 0.0
    result: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, kw_only=True)
class ActorConfig:
    """How an actor works.

    Attributes:
        keep_versions: published versions kept in memory for watchers.
        max_batch: commands decided together at most.
        reload_seconds: pause before the store is tried again after it failed.
    """

    keep_versions: int = 4096
    max_batch: int = 256
    reload_seconds: float = 0.2


@dataclass(kw_only=True)
class Hooks:
    """What the actor reports, always after it is durable."""

    committed: Callable[[str, RunState, Sequence[Event]], None] = lambda _run, _state, _events: None
    waiting: Callable[[str, int], None] = lambda _run, _count: None
    in_flight: Callable[[str, int], None] = lambda _run, _count: None


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
        self._inbox: asyncio.Queue[_Job] = asyncio.Queue()
        self._parked: list[_Job] = []
        self._loaded: LoadedRun | None = None
        self._head = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._draining = False
        self._stopping = False
        self._durable: RunState | None = None

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
        self._wake_watchers()

    async def stop(self) -> None:
        """Finishes the batch under way and ends; what comes later is refused as unavailable."""
        self._draining = self._stopping = True
        self._nudge()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        while not self._inbox.empty():
            self._parked.append(self._inbox.get_nowait())
        for job in self._parked:
            _resolve(job, error=_shutting_down())
        self._parked = []
        self._wake_watchers()

    # --- commands --------------------------------------------------------------------------------

    async def checkout(self, query: CheckoutQuery) -> CheckoutAnswer:
        """A version, as soon as there is one to hand out.

        Raises:
            WaitExpiredError: there was none within ``query.wait_seconds``.
            ChronosError: refused.
        """
        return await self._submit(
            lambda engine, now: engine.checkout(query, now),
            worker_id=query.worker_id,
            deadline=self._clock() + query.wait_seconds,
        )

    async def commit(self, query: CommitQuery, current_incarnation: int) -> CommitAnswer:
        """Decides on a commit; the answer comes when it is durable. Raises the typed refusal."""
        return await self._submit(lambda engine, now: engine.commit(query, current_incarnation, now))

    async def announce(self, worker_id: str, base: int) -> None:
        """A heartbeat names the base that a member works on."""
        await self._submit(lambda engine, now: engine.announce(worker_id, base, now))

    async def leave(self, worker_id: str) -> None:
        """A worker is gone, or works elsewhere."""
        await self._submit(lambda engine, now: engine.leave(worker_id, now))

    async def end(self, reason: str) -> None:
        """Stops the run."""
        await self._submit(lambda engine, _now: engine.stop(reason))

    # --- what others may see: durable only ---------------------------------------------------------

    @property
    def durable(self) -> RunState:
        """The run as the disk has it."""
        if self._durable is None:
            raise StoreError(f"run {self.run_id!r} is not loaded")
        return self._durable

    @property
    def live(self) -> tuple[str, ...]:
        """Live members."""
        return self._loaded.engine.presence.live if self._loaded is not None else ()

    async def versions(self, after: int) -> AsyncIterator[VersionRecord]:
        """Published versions above ``after``, as they come, until the run ends or the actor stops."""
        while True:
            changed = self._changed
            for record in await self._records(after):
                after = record.version
                yield record
            if self.durable.status != ACTIVE and after >= self.durable.version:
                return
            if self._draining:
                return
            await changed.wait()

    async def _records(self, after: int) -> list[VersionRecord]:
        recent = list(self._require_loaded().recent)
        oldest = recent[0].version if recent else self.durable.version + 1
        found: list[VersionRecord] = []
        if after + 1 < oldest:
            found = await asyncio.to_thread(
                read_versions, self._owner.store, self.run_id, after=after, before=oldest
            )
        return found + [r for r in recent if after < r.version <= self.durable.version]

    def last_metrics(self) -> dict[str, float]:
        """Metrics of the newest version that has any."""
        recent = self._require_loaded().recent
        return next((dict(record.metrics) for record in reversed(recent) if record.metrics), {})

    # --- the loop --------------------------------------------------------------------------------

    async def _submit(
        self,
        command: Callable[[RunEngine, float], T | MustWait],
        *,
        worker_id: str = "",
        deadline: float = 0.0,
    ) -> T:
        if self._task is None or self._task.done():
            raise _shutting_down()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(_Job(command=command, future=future, worker_id=worker_id, deadline=deadline))
        result: T = await future
        return result

    async def _serve(self) -> None:
        while not self._stopping:
            batch = await self._next_batch()
            try:
                await self._process(batch)
            except StoreError as error:
                log.error(
                    "store failed; reloading the run", run=self.run_id, reason=error.reason, error=str(error)
                )
                await self._recover(error)
            except Exception as error:
                log.exception("a defect; reloading the run", run=self.run_id)
                await self._recover(error)

    async def _next_batch(self) -> list[_Job]:
        batch: list[_Job] = []
        try:
            async with asyncio.timeout(self._seconds_to_next_event()):
                batch.append(await self._inbox.get())
        except TimeoutError:
            return batch
        while len(batch) < self._config.max_batch and not self._inbox.empty():
            batch.append(self._inbox.get_nowait())
        return batch

    def _seconds_to_next_event(self) -> float | None:
        now = self._clock()
        times = [job.deadline for job in self._parked]
        event = self._require_loaded().engine.presence.next_event(now)
        if event is not None:
            times.append(event)
        return max(0.0, min(times) - now) if times else None

    async def _process(self, batch: list[_Job]) -> None:
        loaded = self._require_loaded()
        engine, now = loaded.engine, self._clock()
        answered: list[_Job] = []
        for job in batch:
            self._try(job, engine, now, answered)
        engine.tick(now)
        parked, self._parked = self._parked, []
        for job in parked:
            self._try(job, engine, now, answered)
        try:
            await self._persist(loaded, engine.take_events())
        except BaseException as error:
            failure = StoreWriteError(f"the write was not confirmed ({error}); send the same request again")
            for job in answered:
                _resolve(job, error=failure)
            raise
        for job in answered:
            _resolve(job, result=job.result, error=job.error)
        self._hooks.waiting(self.run_id, len(self._parked))
        self._hooks.in_flight(self.run_id, engine.presence.leases_in_flight(now))

    def _try(self, job: _Job, engine: RunEngine, now: float, answered: list[_Job]) -> None:
        if job.future.done():  # the caller went away
            engine.stop_waiting(job.worker_id, now)
            return
        job.result = None
        try:
            job.result = job.command(engine, now)
        except Exception as error:  # noqa: BLE001  # the caller gets it, whatever it is
            job.error = error
        if isinstance(job.result, MustWait):
            if now < job.deadline and not self._draining:
                self._parked.append(job)
                return
            engine.stop_waiting(job.worker_id, now)
            job.error = _shutting_down() if self._draining else _wait_expired(job.result)
        answered.append(job)

    async def _persist(self, loaded: LoadedRun, events: Sequence[Event]) -> None:
        if not events:
            return
        wall = self._wall_clock()
        ended = next((event.status for event in events if isinstance(event, Ended)), None)
        entries = to_entries(events, self._head, wall)
        self._store = self._owner.store
        written = self._store.append(StreamKey.of_run(self.run_id), self._head, entries, status=ended)
        await asyncio.wrap_future(written)
        self._head += len(entries)
        self._durable = loaded.engine.state
        for event in events:
            record = loaded.history.observe(event, wall)
            if record is not None:
                loaded.recent.append(record)
        self._hooks.committed(self.run_id, self.durable, events)
        self._wake_watchers()

    # --- failure -----------------------------------------------------------------------------------

    async def _recover(self, error: Exception) -> None:
        failed = self._store
        while not self._stopping:
            try:
                if isinstance(error, StoreError):
                    await self._owner.repair(failed, error)
                await self._reload(restarted=True)
            except FencedError:
                log.error("another coordinator has taken over; this run is served there", run=self.run_id)
                self._stopping = True
            except ChronosError as again:
                log.error(
                    "run cannot be reloaded yet", run=self.run_id, reason=again.reason, error=str(again)
                )
                await asyncio.sleep(self._config.reload_seconds)
            else:
                self._wake_watchers()
                return

    async def _reload(self, *, restarted: bool) -> None:
        loaded = await asyncio.to_thread(self._load)
        self._loaded, self._head, self._durable = loaded, loaded.head, loaded.engine.state
        if restarted:
            window = loaded.engine.config.leases.window
            loaded.engine.restarted(self._clock(), round_seconds(list(loaded.recent), window))

    def _require_loaded(self) -> LoadedRun:
        if self._loaded is None:
            raise StoreError(f"run {self.run_id!r} is not loaded")
        return self._loaded

    def _nudge(self) -> None:
        """Lets the loop look at what waits."""
        self._inbox.put_nowait(_Job(command=lambda _engine, _now: None, future=_done()))

    def _wake_watchers(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _shutting_down() -> DrainingError:
    return DrainingError("the coordinator is shutting down; ask again")


def _wait_expired(wait: MustWait) -> WaitExpiredError:
    return WaitExpiredError(f"{wait.reason}; ask again, or allow a longer wait")


def _done() -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


def _resolve(job: _Job, *, result: Any = None, error: BaseException | None = None) -> None:
    if job.future.done():
        return
    if error is not None:
        job.future.set_exception(error)
    else:
        job.future.set_result(result)
