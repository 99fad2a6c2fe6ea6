"""A worker's samples from a coordinator, for training loops without ``async``.

A task reads shares ahead while the loop computes, another one proves that the process lives. A coordinator that is
away makes a pause, no error: the stream is opened again from the last turn that came, and reports are repeated.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar

from chronos_common.data.source import DealtShare
from chronos_common.errors import (
    ChronosError,
    InvalidRequestError,
    StoreError,
    UnavailableError,
    WorkerNotMemberError,
)
from chronos_common.runtime import get_logger
from chronos_common.wire.sync import SyncCoordinatorClient

log = get_logger(__name__)


R = TypeVar("R")


def patiently(client: SyncCoordinatorClient, call: Callable[[], R], give_up_seconds: float) -> R:
    """Repeats a call that may be repeated while the coordinator is away; raises what it raised after the time."""
    until = time.monotonic() + give_up_seconds
    while True:
        try:
            return call()
        except (UnavailableError, StoreError) as error:
            if time.monotonic() > until:
                raise
            log.warning("coordinator is away; asked again", error=str(error))
            time.sleep(client.asynchronous.deadlines.reconnect_initial_seconds)


class CoordinatorSource:
    """A member of a data plan; a :class:`~chronos_common.data.source.ShareSource` and a context manager.

    Args:
        client: of the coordinator; it stays open when the source is closed. A process that takes part in several
            plans uses one client for all of them: another client with the same worker id replaces this process.
        plan_id: the plan, which exists.
        worker_id: stable name of this worker.
        rank: that no other worker has.
        node: whose samples it can read, of a partitioned data set.
        give_up_seconds: how long the coordinator may be away.

    Raises:
        ChronosError: as ``register`` and ``join_data``.
    """

    def __init__(
        self,
        client: SyncCoordinatorClient,
        plan_id: str,
        worker_id: str,
        *,
        rank: int | None = None,
        node: int = 0,
        give_up_seconds: float = 60.0,
    ) -> None:
        self._client = client
        self._plan_id = plan_id
        self._worker_id = worker_id
        self._rank = rank
        self._node = node
        self._give_up_seconds = give_up_seconds
        self._ready = threading.Condition()
        self._shares: deque[DealtShare] = deque()
        self._epoch = -1
        self._turn = 0
        self._reader = 0
        self._over = False
        self._error: ChronosError | None = None
        registered = patiently(
            client, lambda: client.register(worker_id, client.instance_id), give_up_seconds
        )
        self._incarnation = registered.incarnation
        self._heartbeat_seconds = registered.heartbeat_seconds
        view = patiently(
            client,
            lambda: client.join_data(plan_id, worker_id, self._incarnation, rank=rank, node=node),
            give_up_seconds,
        )
        self._lookahead = view.config.lookahead
        self._first_epoch = view.epoch
        self._closed = False
        self._beating = client.spawn(self._beat())
        self._reading: Future[None] | None = None

    @property
    def first_epoch(self) -> int:
        """The plan's epoch when this worker joined: where its training loop begins."""
        return self._first_epoch

    # --- ShareSource -------------------------------------------------------------------------------

    @property
    def lookahead(self) -> int:
        """The plan's."""
        return self._lookahead

    @property
    def fork_safe(self) -> bool:
        """No: gRPC's threads and locks are only half there in a forked process, which may crash."""
        return False

    def begin(self, epoch: int) -> None:
        """Asks for the shares of an epoch; it begins when the one before is over.

        Raises:
            InvalidRequestError: no epoch, or the source is closed.
        """
        if epoch < 0 or self._closed:
            what = "the source is closed" if self._closed else "epochs count from 0"
            raise InvalidRequestError(f"epoch {epoch} cannot begin: {what}", field="epoch")
        if epoch == self._epoch and self._error is None:
            return
        self._stop_reading()
        with self._ready:
            self._epoch, self._turn, self._over, self._error = epoch, 0, False, None
        self._reading = self._client.spawn(self._read(epoch, self._reader))

    def next_share(self, *, wait: bool = True) -> DealtShare | None:
        """The next share, or ``None``; see :class:`~chronos_common.data.source.ShareSource`.

        Raises:
            UnavailableError: the coordinator was away for too long.
            InvalidRequestError: no epoch has begun.
            ChronosError: this worker was replaced, or the plan cannot be served.
        """
        if self._epoch < 0:
            raise InvalidRequestError("no epoch has begun; call begin(epoch) first", field="epoch")
        with self._ready:
            self._ready.wait_for(lambda: self._shares or self._over or self._error or not wait)
            if self._shares:
                return self._shares.popleft()
            if self._error is not None:
                raise self._error
            return None

    @property
    def over(self) -> bool:
        """Whether every sample of the epoch is finished."""
        return self._over and not self._shares

    def finish(self, share: DealtShare, seconds: float = 0.0) -> bool:
        """Reports a share; whether it counts. Raises as :meth:`next_share`."""
        return self._client.run(self._finish(share.turn, seconds))

    def save(self) -> bytes:
        """What a checkpoint keeps; take it when all members have reported the same turns."""
        return self._client.save_data(self._plan_id)

    def restore(self, state: bytes) -> None:
        """Goes back to a checkpoint; one worker does, before any of them begins."""
        self._client.restore_data(self._plan_id, state)
        self._stop_reading()
        self._epoch = -1

    def regroup(self) -> None:
        """Takes back every open share, to be dealt again among those who are members now.

        A group that synchronises by collective operations needs every turn to be everybody's. Who joins earlier would
        hold turns that the others never get; so one worker does this when all have joined, before any of them begins.
        """
        self.restore(self.save())

    # --- life --------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leaves the plan: what this worker holds goes to the others. Again changes nothing."""
        if self._closed:
            return
        self._closed = True
        self._stop_reading()
        self._beating.cancel()
        with self._ready:  # nobody waits for a share that will not come
            self._error = self._error or WorkerNotMemberError(
                f"worker {self._worker_id!r} has left data plan {self._plan_id!r}", worker_id=self._worker_id
            )
            self._ready.notify_all()
        try:
            self._client.leave_data(self._plan_id, self._worker_id, self._incarnation)
        except ChronosError as error:
            log.warning("worker could not leave its data plan", plan=self._plan_id, error=str(error))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- on the client's loop ----------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            try:
                await self._client.asynchronous.heartbeat(self._worker_id, self._incarnation)
            except UnavailableError:
                continue
            except ChronosError as error:
                self._fail(error)
                return

    def _stop_reading(self) -> None:
        """Whatever the reader was about to say is not heard any more."""
        if self._reading is not None:
            self._reading.cancel()
        with self._ready:
            self._reader += 1
            self._shares.clear()

    async def _read(self, epoch: int, reader: int) -> None:
        heard = time.monotonic()
        while True:
            try:
                stream = self._client.asynchronous.stream_shares(
                    self._plan_id, self._worker_id, self._incarnation, epoch=epoch, after_turn=self._turn
                )
                async with aclosing(stream) as shares:  # type: ignore[type-var]
                    async for share in shares:
                        heard = time.monotonic()
                        with self._ready:
                            if reader != self._reader:
                                return
                            self._turn = share.turn
                            self._shares.append(share)
                            self._ready.notify_all()
                with self._ready:
                    if reader == self._reader:
                        self._over = True
                        self._ready.notify_all()
                return
            except WorkerNotMemberError:
                await self._rejoin()
            except (UnavailableError, StoreError) as error:
                if time.monotonic() - heard > self._give_up_seconds:
                    self._fail(error)
                    return
                await asyncio.sleep(self._client.asynchronous.deadlines.reconnect_initial_seconds)
            except ChronosError as error:
                if reader == self._reader:
                    self._fail(error)
                return

    async def _rejoin(self) -> None:
        """It was silent for too long: what it held is with others by now."""
        try:
            await self._client.asynchronous.join_data(
                self._plan_id, self._worker_id, self._incarnation, rank=self._rank, node=self._node
            )
        except UnavailableError:
            return
        except ChronosError as error:
            self._fail(error)
            raise asyncio.CancelledError from error
        with self._ready:
            self._shares.clear()

    async def _finish(self, turn: int, seconds: float) -> bool:
        until = time.monotonic() + self._give_up_seconds
        while True:
            try:
                lost = await self._client.asynchronous.finish_shares(
                    self._plan_id, self._worker_id, self._incarnation, [(turn, seconds)]
                )
                return not lost
            except WorkerNotMemberError:
                return False
            except (UnavailableError, StoreError):
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(self._client.asynchronous.deadlines.reconnect_initial_seconds)

    def _fail(self, error: ChronosError) -> None:
        with self._ready:
            self._error = error
            self._ready.notify_all()
