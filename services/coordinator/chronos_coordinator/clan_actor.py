"""One clan, served: a single coroutine owns its job, so commands never race.

Commands that wait are decided together; their records become durable in one append; only then do answers leave. If
the append fails, or nobody can tell, the job is read back from the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from chronos_common.clan.events import RoundClosed
from chronos_common.clan.history import RoundRecord
from chronos_common.clan.job import ClanJob
from chronos_common.clan.records import Ended, Record
from chronos_common.clan.views import ClanView, FetchedRound, clan_view
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
from chronos_coordinator.clan_journal import load_clan, record_entries, snapshot_of
from chronos_coordinator.ownership import StoreOwner

log = get_logger(__name__)

T = TypeVar("T")
MAX_BATCH = 1024
RELOAD_SECONDS = 0.2


@dataclass(kw_only=True)
class ClanHooks:
    """What the actor reports, always after it is durable."""

    decided: Callable[[str, Record], None] = lambda _clan, _record: None
    changed: Callable[[str, ClanView], None] = lambda _clan, _view: None


@dataclass(kw_only=True, eq=False)
class _Command:
    decide: Callable[[ClanJob], Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def answer(self, error: BaseException | None = None) -> None:
        error = error if error is not None else self.error
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(self.result)


class ClanActor:
    """Owns one clan.

    Args:
        clan_id: identity.
        owner: holds the store.
        snapshot_entries: journal entries from one snapshot to the next; 0 writes none.
        hooks: told about what became durable.
        wall_clock: unix seconds, for deadlines and the journal's timestamps.
    """

    def __init__(
        self,
        clan_id: str,
        owner: StoreOwner,
        *,
        snapshot_entries: int,
        hooks: ClanHooks,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.clan_id = clan_id
        self._owner = owner
        self._snapshot_entries = snapshot_entries
        self._hooks = hooks
        self._wall_clock = wall_clock
        self._inbox: asyncio.Queue[_Command] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._job: ClanJob | None = None
        self._view: ClanView | None = None
        self._head = self._snapshot = 0
        self._used: Store | None = None
        self._task: asyncio.Task[None] | None = None
        self._draining = self._stopping = False

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Reads the clan and begins to serve it. Raises ``CorruptStateError``, ``StoreError``."""
        await self._reload()
        self._task = asyncio.create_task(self._serve(), name=f"clan {self.clan_id}")

    def drain(self) -> None:
        """Ends everybody who waits."""
        self._draining = True
        self._wake()

    async def stop(self) -> None:
        """Finishes what is under way and ends."""
        self._draining = self._stopping = True
        self._wake()
        self._inbox.put_nowait(_Command(decide=lambda _: None, future=asyncio.Future()))
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    # --- commands --------------------------------------------------------------------------------

    async def submit(self, decide: Callable[[ClanJob], T]) -> T:
        """Lets the job decide something, or read it; the answer comes when everything before it is durable."""
        if self._task is None or self._task.done() or self._stopping:
            raise _ended()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(_Command(decide=decide, future=future))
        result: T = await future
        return result

    async def fetch(self, worker: str, incarnation: int, wait_seconds: float) -> FetchedRound:
        """The round that a member works on.

        Raises:
            WorkerNotMemberError: it takes no part, any more.
            WaitExpiredError: members are missing.
            UnavailableError: the coordinator stops, or reads the clan back.
        """

        def begin(job: ClanJob) -> FetchedRound | None:
            plan = job.begin(worker, incarnation, now=self._wall_clock())
            if plan is None:
                return None
            return FetchedRound(plan=plan, epoch=job.epoch, finished=job.clan.finished)

        return await self._until(begin, wait_seconds, _who_is_missing)

    async def close(self, worker: str, incarnation: int, number: int, wait_seconds: float) -> RoundClosed:
        """What became of the members after a round.

        Raises:
            WorkerNotMemberError: it takes no part, any more.
            RoundMismatchError: a round that has not begun, or is not kept.
            WaitExpiredError: others have not reported.
            UnavailableError: the coordinator stops, or reads the clan back.
        """

        def closed(job: ClanJob) -> RoundClosed | None:
            job.require_member(worker, incarnation)
            return job.closed(number)

        return await self._until(closed, wait_seconds, _who_works)

    async def watch(self) -> AsyncIterator[ClanView]:
        """How the clan stands, now and after each change, until the coordinator stops."""
        while not self._draining:
            changed = self._changed
            yield self.view()
            if self._changed is changed:
                await changed.wait()

    async def history(self, first_round: int) -> list[RoundRecord]:
        """The rounds that are kept, oldest first."""
        return await self.submit(lambda job: [one for one in job.history if one.number >= first_round])

    def view(self) -> ClanView:
        """How the clan stands: what is durable of it."""
        if self._view is None:
            raise StoreError(f"clan {self.clan_id!r} is not loaded")
        return self._view

    # --- the loop ----------------------------------------------------------------------------------

    async def _until(
        self, ask: Callable[[ClanJob], T | None], wait_seconds: float, why: Callable[[ClanView], str]
    ) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            changed = self._changed
            found = await self.submit(ask)
            if found is not None:
                return found
            if self._draining:
                raise _ended()
            if self._changed is not changed:
                continue
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
            except TimeoutError:
                raise WaitExpiredError(f"{why(self.view())}; ask again, or allow a longer wait") from None

    async def _serve(self) -> None:
        try:
            while not self._stopping:
                batch = [await self._inbox.get()]
                while len(batch) < MAX_BATCH and not self._inbox.empty():
                    batch.append(self._inbox.get_nowait())
                try:
                    await self._process(batch)
                except Exception as error:  # noqa: BLE001  # nothing of it has left: read back what is true
                    log.error("clan is read back", clan=self.clan_id, error=str(error))
                    await self._recover(batch, error)
        finally:
            while not self._inbox.empty():
                self._inbox.get_nowait().answer(_ended())
            self.drain()

    async def _process(self, batch: list[_Command]) -> None:
        job = self._require_job()
        for command in batch:
            if command.future.done():
                continue
            try:
                command.result = command.decide(job)
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001  # the caller gets it, whatever it is
                command.error = error
        records = job.take_records()
        if records:
            entries = record_entries(records, self._head, self._wall_clock())
            written = self._store().append(StreamKey.of_clan(self.clan_id), self._head, entries)
            await asyncio.wrap_future(written)
            self._head += len(entries)
            self._show(job)
        for command in batch:
            command.answer()
        for record in records:
            if isinstance(record, Ended):
                log.info("round closed", clan=self.clan_id, round=record.decision.round)
            self._hooks.decided(self.clan_id, record)
        await self._offer_snapshot(job)

    async def _offer_snapshot(self, job: ClanJob) -> None:
        if not self._snapshot_entries or self._head - self._snapshot < self._snapshot_entries:
            return
        older, self._snapshot = self._snapshot, self._head
        made = snapshot_of(self.clan_id, self._head, job)
        try:
            keep = (older,) if older else ()
            await self._owner.write(lambda store: store.save_snapshot(made, keep=keep))
            if older:
                await self._owner.write(lambda store: store.trim(made.stream, older))
        except (StoreError, UnavailableError) as error:
            log.error("snapshot not kept; the clan goes on without it", clan=self.clan_id, error=str(error))

    # --- failure -----------------------------------------------------------------------------------

    async def _recover(self, batch: list[_Command], error: Exception) -> None:
        failure = StoreWriteError(f"the write was not confirmed ({error}); send the same request again")
        for command in batch:
            command.answer(failure)
        failed = self._used
        while not self._stopping:
            try:
                if isinstance(error, StoreError | UnavailableError):
                    await self._owner.repair(failed, error)
                await self._reload()
            except (FencedError, CorruptStateError) as final:
                log.error("clan can be served no more", clan=self.clan_id, error=str(final))
                self._stopping = True
            except ChronosError as again:
                error = again
                await asyncio.sleep(RELOAD_SECONDS)
            else:
                return

    async def _reload(self) -> None:
        loaded = await asyncio.to_thread(load_clan, self._store(), self.clan_id)
        self._head, self._snapshot = loaded.head, loaded.snapshot
        self._job = loaded.job
        self._show(loaded.job)

    # --- parts -------------------------------------------------------------------------------------

    def _store(self) -> Store:
        self._used = self._owner.store
        return self._used

    def _require_job(self) -> ClanJob:
        if self._job is None:
            raise StoreError(f"clan {self.clan_id!r} is not loaded")
        return self._job

    def _show(self, job: ClanJob) -> None:
        self._view = clan_view(self.clan_id, job)
        self._hooks.changed(self.clan_id, self._view)
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _ended() -> DrainingError:
    return DrainingError("the coordinator is shutting down; ask again")


def _who_is_missing(view: ClanView) -> str:
    missing = [one.member for one in view.members if one.alive and not one.worker_id]
    names = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
    return f"round {view.round} begins when members {names} of {len(view.members)} have joined"


def _who_works(view: ClanView) -> str:
    late = [one.worker_id or str(one.member) for one in view.members if one.alive and one.reported is None]
    names = ", ".join(late[:8]) + (", ..." if len(late) > 8 else "")
    return f"round {view.round} runs: no fitness yet of {names}"
