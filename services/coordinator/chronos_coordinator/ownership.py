"""Holding the store: leadership, and a fresh connection after a write whose fate nobody knows.

A store that failed to make a write durable refuses everything from then on. The only honest way on is to
drop it, open it again, take leadership again and read what is really there. That happens here, once for all
runs, whoever notices first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

from chronos_common.errors import FencedError, LeadershipHeldError, StoreError, UnavailableError
from chronos_common.runtime import get_logger
from chronos_common.store import Store

log = get_logger(__name__)


class StoreOwner:
    """Owns the coordinator's store.

    Args:
        opener: opens the store for writing; called again after a failure.
        holder: name under which leadership is taken.
    """

    def __init__(self, opener: Callable[[], Store], *, holder: str) -> None:
        self._opener = opener
        self._holder = holder
        self._store: Store | None = None
        self._lock = asyncio.Lock()
        self._ended = False
        self.fenced = asyncio.Event()

    @property
    def store(self) -> Store:
        """The open store. Raises ``UnavailableError`` while there is none."""
        if self._store is None:
            raise self._closed()
        return self._store

    async def open(self) -> int:
        """Opens the store and takes leadership; returns the fencing epoch.

        Raises:
            LeadershipHeldError: another live coordinator owns it.
            StoreError: it cannot be opened.
        """
        try:
            store = await asyncio.to_thread(self._opener)
            try:
                epoch = await asyncio.to_thread(store.acquire, self._holder)
            except BaseException:
                await asyncio.to_thread(store.close)
                raise
        except OSError as error:
            raise StoreError(f"the store cannot be opened: {error}") from error
        self._store = store
        return epoch

    async def write(self, submit: Callable[[Store], Future[None]]) -> None:
        """Makes one write of its own durable; after a failure the store is opened again for the next one.

        Raises:
            UnavailableError: there is no open store just now.
            StoreError: the write is not durable, or nobody can tell.
            RefusalError: the store says no.
        """
        if self._store is None:
            await self.repair(None, self._closed())
        store = self.store
        try:
            await asyncio.wrap_future(submit(store))
        except StoreError as error:
            await self.repair(store, error)
            raise

    async def repair(self, failed: Store | None, error: Exception) -> None:
        """Opens the store again, unless somebody did since ``failed`` failed.

        A coordinator that was fenced does not come back: another one leads, and ``fenced`` is set.

        Raises:
            FencedError: another coordinator leads.
            StoreError: it cannot be opened yet; call again.
        """
        if isinstance(error, FencedError):
            self.fenced.set()
            raise error
        # A caller that is cancelled half-way must not leave a store behind that still holds leadership.
        reopening = asyncio.create_task(self._reopen(failed), name="reopen store")
        reopening.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(reopening)

    async def _reopen(self, failed: Store | None) -> None:
        async with self._lock:
            if self._ended or (self._store is not None and self._store is not failed):
                return
            self._store = None
            if failed is not None:
                await asyncio.to_thread(failed.close)
            try:
                epoch = await self.open()
            except LeadershipHeldError as held:
                self.fenced.set()
                raise FencedError(f"another coordinator has taken over: {held}") from held
            log.warning("store opened again", epoch=epoch)

    async def close(self) -> None:
        """Gives leadership up and closes the store, for good."""
        async with self._lock:
            self._ended = True
            store, self._store = self._store, None
            if store is not None:
                await asyncio.to_thread(store.close)

    @staticmethod
    def _closed() -> UnavailableError:
        return UnavailableError("the store is being opened again; ask again in a moment")
