"""A worker's samples from a coordinator, for training loops without ``async``.

A task reads shares ahead while the loop computes, another one proves that the process lives. A coordinator that is
away makes a pause, no error: the stream is opened again from the last turn that came, and reports are repeated.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import deque
from contextlib import aclosing
from types import TracebackType
from typing import Self

from chronos_common.data.source import DealtShare
from chronos_common.errors import ChronosError, StoreError, UnavailableError, WorkerNotMemberError
from chronos_common.runtime import get_logger
from chronos_common.wire.sync import SyncCoordinatorClient

log = get_logger(__name__)


class CoordinatorSource:
    """A member of a data plan; a :class:`~chronos_common.data.source.ShareSource` and a context manager.

    Args:
        client: of the coordinator; it stays open when the source is closed.
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
        self._over = False
        self._error: ChronosError | None = None
        registered = client.register(worker_id, uuid.uuid4().hex)
        self._incarnation = registered.incarnation
        self._heartbeat_seconds = registered.heartbeat_seconds
        client.join_data(plan_id, worker_id, self._incarnation, rank=rank, node=node)
        self._beating = client.spawn(self._beat())
        self._reading = client.spawn(_nothing())

    # --- ShareSource -------------------------------------------------------------------------------

    def begin(self, epoch: int) -> None:
        """Asks for the shares of an epoch; it begins when the one before is over."""
        if epoch == self._epoch:
            return
        self._reading.cancel()
        with self._ready:
            self._shares.clear()
            self._epoch, self._turn, self._over, self._error = epoch, 0, False, None
        self._reading = self._client.spawn(self._read(epoch))

    def next_share(self, *, wait: bool = True) -> DealtShare | None:
        """The next share, or ``None``; see :class:`~chronos_common.data.source.ShareSource`.

        Raises:
            UnavailableError: the coordinator was away for too long.
            ChronosError: this worker was replaced, or the plan cannot be served.
        """
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

    # --- life --------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leaves the plan: what this worker holds goes to the others. Again changes nothing."""
        if self._beating.cancelled():
            return
        self._reading.cancel()
        self._beating.cancel()
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

    async def _read(self, epoch: int) -> None:
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
                            self._turn = share.turn
                            self._shares.append(share)
                            self._ready.notify_all()
                with self._ready:
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


async def _nothing() -> None:
    """Stands for a reader before the first epoch."""
