"""One data plan, served: a single coroutine owns its job, so commands never race.

Commands that wait are decided together; what is due is dealt out; the events of both become durable in one append;
only then do answers and shares leave. If the append fails, or nobody can tell, the job is read back from the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from chronos_common.data.dealing import Dealer
from chronos_common.data.events import DataEvent, Dealt
from chronos_common.data.job import DataJob
from chronos_common.data.source import DealtShare
from chronos_common.data.views import DataView, data_view
from chronos_common.errors import (
    ChronosError,
    CorruptStateError,
    DrainingError,
    EpochNotOverError,
    FencedError,
    StoreError,
    StoreWriteError,
    UnavailableError,
    WaitExpiredError,
)
from chronos_common.runtime import get_logger
from chronos_common.store import Store, StreamKey
from chronos_coordinator.data_journal import (
    LoadedPlan,
    event_entries,
    load_plan,
    numbers,
    slice_entry,
    snapshot_of,
)
from chronos_coordinator.ownership import StoreOwner

log = get_logger(__name__)

T = TypeVar("T")
MAX_BATCH = 1024
RELOAD_SECONDS = 0.2


@dataclass(kw_only=True)
class DataHooks:
    """What the actor reports, always after it is durable."""

    dealt: Callable[[str, Dealt, float], None] = lambda _plan, _event, _seconds: None
    """A turn, and the seconds that its planning took."""
    changed: Callable[[str, DataView], None] = lambda _plan, _view: None


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What others may see: durable only."""

    turn: int
    epoch: int
    over: bool


@dataclass(kw_only=True, eq=False)
class _Command:
    decide: Callable[[DataJob], Any]
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


class DataActor:
    """Owns one plan.

    Args:
        plan_id: identity.
        owner: holds the store.
        snapshot_entries: journal entries from one snapshot to the next; 0 writes none.
        hooks: told about what became durable.
        wall_clock: unix seconds, for the journal's timestamps.
    """

    def __init__(
        self,
        plan_id: str,
        owner: StoreOwner,
        *,
        snapshot_entries: int,
        hooks: DataHooks,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.plan_id = plan_id
        self._owner = owner
        self._snapshot_entries = snapshot_entries
        self._hooks = hooks
        self._wall_clock = wall_clock
        self._inbox: asyncio.Queue[_Command] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._sizes_lock = asyncio.Lock()
        self._loaded: LoadedPlan | None = None
        self._dealer: Dealer | None = None
        self._head = self._sizes_head = self._snapshot = 0
        self._seen = _Seen(turn=0, epoch=0, over=False)
        self._task: asyncio.Task[None] | None = None
        self._draining = self._stopping = False

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Reads the plan and begins to serve it. Raises ``CorruptStateError``, ``StoreError``."""
        await self._reload()
        self._task = asyncio.create_task(self._serve(), name=f"data plan {self.plan_id}")
        self._nudge()

    def drain(self) -> None:
        """Ends everybody who waits for shares."""
        self._draining = True
        self._wake()

    async def stop(self) -> None:
        """Finishes what is under way and ends."""
        self._draining = self._stopping = True
        self._wake()
        self._nudge()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    # --- commands --------------------------------------------------------------------------------

    async def submit(self, decide: Callable[[DataJob], T]) -> T:
        """Lets the job decide something; the answer comes when it is durable."""
        if self._task is None or self._task.done() or self._stopping:
            raise DrainingError("the coordinator is shutting down; ask again")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(_Command(decide=decide, future=future))
        result: T = await future
        return result

    async def add_sizes(self, begin: int, payload: bytes, number_type: str, node: int) -> int:
        """Takes the sizes of a slice; how many samples have one now.

        Raises:
            InvalidRequestError, SizesDisagreeError: as ``Slices.news``.
        """
        async with self._sizes_lock:
            loaded = self._require_loaded()
            sizes = await asyncio.to_thread(numbers, payload, number_type)
            if await asyncio.to_thread(loaded.slices.news, begin, sizes, node):
                head = self._sizes_head
                entry = slice_entry(head + 1, begin, payload, number_type, node, self._wall_clock())
                stream = StreamKey.of_sizes(self.plan_id)
                try:
                    await self._owner.write(lambda store: store.append(stream, head, [entry]))
                except StoreError as failed:
                    error = failed
                    await self.submit(lambda _job: _raise(error))  # which reads everything back
                self._sizes_head = head + 1
                await asyncio.to_thread(loaded.slices.add, begin, sizes, node)
                self._nudge()
            return loaded.slices.sized

    async def shares(
        self, worker: str, incarnation: int, epoch: int, after: int, wait_seconds: float | None
    ) -> AsyncIterator[DealtShare]:
        """A member's shares of an epoch, as they are dealt, until the epoch is over.

        Raises:
            WorkerNotMemberError: it takes no part, any more.
            EpochNotOverError: an epoch that is not the next one.
            WaitExpiredError: no share within the time.
            UnavailableError: the coordinator stops, or reads the plan back.
        """
        while True:
            changed = self._changed
            job, seen = self._require_loaded().job, self._seen
            if seen.epoch > epoch or (seen.epoch == epoch and seen.over):
                return
            job.require_member(worker, incarnation)
            if epoch > seen.epoch:
                await self._begin(epoch)
            found = job.ledger.shares(worker, after) if epoch == seen.epoch else []
            for share in found:
                if share.turn <= seen.turn:
                    after = share.turn
                    yield share
            if self._changed is not changed:
                continue
            if self._draining:
                raise DrainingError("the coordinator is shutting down; ask again")
            try:
                async with asyncio.timeout(wait_seconds):
                    await changed.wait()
            except TimeoutError:
                raise WaitExpiredError(f"{self._why()}; ask again, or allow a longer wait") from None

    # --- what others may see -----------------------------------------------------------------------

    def view(self) -> DataView:
        """How the plan stands."""
        loaded = self._require_loaded()
        return data_view(self.plan_id, loaded.job, loaded.slices)

    @property
    def job(self) -> DataJob:
        """The job; only to be read."""
        return self._require_loaded().job

    # --- the loop ----------------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            while not self._stopping:
                batch = [await self._inbox.get()]
                while len(batch) < MAX_BATCH and not self._inbox.empty():
                    batch.append(self._inbox.get_nowait())
                try:
                    await self._process(batch)
                except Exception as error:  # noqa: BLE001  # nothing of it has left: read back what is true
                    log.error("data plan is read back", plan=self.plan_id, error=str(error))
                    await self._recover(batch, error)
        finally:
            ended = DrainingError("the coordinator is shutting down; ask again")
            while not self._inbox.empty():
                self._inbox.get_nowait().answer(ended)
            self.drain()

    async def _process(self, batch: list[_Command]) -> None:
        job = self._require_loaded().job
        for command in batch:
            if command.future.done():
                continue
            try:
                command.result = command.decide(job)
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001  # the caller gets it, whatever it is
                command.error = error
        timed = await self._deal(job)
        await self._persist(job.take_events())
        for command in batch:
            command.answer()
        for event, seconds in timed:
            self._hooks.dealt(self.plan_id, event, seconds)
        self._hooks.changed(self.plan_id, self.view())
        await self._offer_snapshot(job)

    async def _deal(self, job: DataJob) -> list[tuple[Dealt, float]]:
        slices = self._require_loaded().slices
        if not slices.complete or not job.ledger.due():
            return []
        if self._dealer is None:
            self._dealer = await asyncio.to_thread(Dealer, slices.sizes, job.config.plan, slices.nodes)
        dealer = self._dealer
        timed: list[tuple[Dealt, float]] = []
        while True:
            began = time.perf_counter()
            # The thread only reads: while it plans, nobody else decides.
            event = await asyncio.to_thread(job.plan_next, dealer)
            if event is None:
                return timed
            job.deal(event)
            timed.append((event, time.perf_counter() - began))

    async def _persist(self, events: Sequence[DataEvent]) -> None:
        if events:
            entries = event_entries(events, self._head, self._wall_clock())
            written = self._store().append(StreamKey.of_data(self.plan_id), self._head, entries)
            await asyncio.wrap_future(written)
            self._head += len(entries)
        self._show()

    async def _offer_snapshot(self, job: DataJob) -> None:
        if not self._snapshot_entries or self._head - self._snapshot < self._snapshot_entries:
            return
        older, head = self._snapshot, self._head
        self._snapshot = head
        made = snapshot_of(self.plan_id, head, job.state())
        try:
            keep = (older,) if older else ()
            await self._owner.write(lambda store: store.save_snapshot(made, keep=keep))
            if older:
                await self._owner.write(lambda store: store.trim(made.stream, older))
        except (StoreError, UnavailableError) as error:
            log.error("snapshot not kept; the plan goes on without it", plan=self.plan_id, error=str(error))

    # --- failure -----------------------------------------------------------------------------------

    async def _recover(self, batch: list[_Command], error: Exception) -> None:
        failure = StoreWriteError(f"the write was not confirmed ({error}); send the same request again")
        for command in batch:
            command.answer(failure)
        failed = self._owner_store
        while not self._stopping:
            try:
                if isinstance(error, StoreError | UnavailableError):
                    await self._owner.repair(failed, error)
                await self._reload()
            except (FencedError, CorruptStateError) as final:
                log.error("data plan can be served no more", plan=self.plan_id, error=str(final))
                self._stopping = True
            except ChronosError as again:
                error = again
                while not self._inbox.empty():  # nothing can be decided now: nobody is kept waiting for that
                    self._inbox.get_nowait().answer(again)
                await asyncio.sleep(RELOAD_SECONDS)
            else:
                if isinstance(error, StoreError | UnavailableError):
                    self._nudge()  # what was due is due still
                return

    async def _reload(self) -> None:
        loaded = await asyncio.to_thread(load_plan, self._store(), self.plan_id)
        self._loaded, self._dealer = loaded, None
        self._head, self._sizes_head, self._snapshot = loaded.head, loaded.sizes_head, loaded.snapshot
        self._show()

    # --- parts -------------------------------------------------------------------------------------

    _owner_store: Store | None = None

    def _store(self) -> Store:
        self._owner_store = self._owner.store
        return self._owner_store

    def _require_loaded(self) -> LoadedPlan:
        if self._loaded is None:
            raise StoreError(f"data plan {self.plan_id!r} is not loaded")
        return self._loaded

    async def _begin(self, epoch: int) -> None:
        """Begins an epoch; one that is the next one, but for the end of the one before, is waited for."""

        def begin(job: DataJob) -> None:
            if epoch != job.ledger.epoch + 1 or job.ledger.over:
                job.begin(epoch)

        if epoch > self._seen.epoch + 1:
            raise EpochNotOverError(
                f"epoch {epoch} cannot begin: the plan is in epoch {self._seen.epoch}", epoch=self._seen.epoch
            )
        if self._seen.over:
            await self.submit(begin)

    def _why(self) -> str:
        loaded = self._require_loaded()
        if not loaded.slices.complete:
            return (
                f"{loaded.slices.sized} of {loaded.job.config.samples} samples have a size, the first without one is "
                f"{loaded.slices.first_missing}"
            )
        here, wanted = len(loaded.job.members), loaded.job.config.workers
        if loaded.job.ledger.next_turn == 1 and here < wanted:
            return f"{here} of {wanted} workers have joined"
        return "no share is due: others work on theirs"

    def _show(self) -> None:
        ledger = self._require_loaded().job.ledger
        self._seen = _Seen(turn=ledger.next_turn - 1, epoch=ledger.epoch, over=ledger.over)
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _nudge(self) -> None:
        """Lets the loop look whether anything is due."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        self._inbox.put_nowait(_Command(decide=lambda _job: None, future=future))


def _raise(error: StoreError) -> None:
    raise error
