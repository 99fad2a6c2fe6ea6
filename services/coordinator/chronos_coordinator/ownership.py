"""Holding the store: leadership, and a fresh connection after a write whose fate nobody knows.

A store that failed to make a write durable refuses everything from then on. The only honest way on is to
drop it, open it again, take leadership again and read what is really there. That happens here, once for all
runs, whoever notices first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from chronos_common.errors import FencedError, StoreError, UnavailableError
from chronos_common.store import Store

log = structlog.get_logger(__name__)


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
        self.fenced = asyncio.Event()

    @property
    def store(self) -> Store:
        """The open store. Raises ``UnavailableError`` while there is none."""
        if self._store is None:
            raise UnavailableError("the store is being opened again; ask again in a moment")
        return self._store

    async def open(self) -> int:
        """Opens the store and takes leadership; returns the fencing epoch.

        Raises:
            LeadershipHeldError: another live coordinator owns it.
            StoreError: it cannot be opened.
        """
        store = await asyncio.to_thread(self._opener)
        try:
            epoch = await asyncio.to_thread(store.acquire, self._holder)
        except StoreError:
            await asyncio.to_thread(store.close)
            raise
        self._store = store
        return epoch

    async def repair(self, failed: Store | None, error: Exception) -> None:
        """Opens the store again, unless somebody did since ``failed`` failed.

        A coordinator that was fenced does not come back: another one leads, and ``fenced`` is set.

        Raises:
            StoreError: it cannot be opened yet.
        """
        if isinstance(error, FencedError):
            self.fenced.set()
            raise error
        async with self._lock:
            if self._store is not failed:
                return
            self._store = None
            if failed is not None:
                await asyncio.to_thread(failed.close)
            epoch = await self.open()
            log.warning("store opened again", epoch=epoch)

    async def close(self) -> None:
        """Gives leadership up and closes the store."""
        store, self._store = self._store, None
        if store is not None:
            await asyncio.to_thread(store.close)
