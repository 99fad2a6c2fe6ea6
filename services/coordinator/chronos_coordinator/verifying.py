"""Replaying runs on request, beside everything else: a few at a time, however many ask."""

from __future__ import annotations

import asyncio
from typing import Final

from chronos_common.engine import VerifyReport
from chronos_common.store import verify_run
from chronos_coordinator.ownership import StoreOwner

AT_ONCE: Final = 2
"""Replays at a time. Each one takes a thread of the pool that also reads runs back and makes their snapshots, for as
long as the journal is, and goes on when whoever asked has hung up."""


class Verifier:
    """Verifies the runs of a store.

    Args:
        owner: holds the store.
    """

    def __init__(self, owner: StoreOwner) -> None:
        self._owner = owner
        self._places = asyncio.Semaphore(AT_ONCE)

    async def verify(self, run_id: str, *, from_snapshot: bool) -> VerifyReport:
        """What a replay finds; as ``verify_run``. It waits until it is its turn."""
        await self._places.acquire()
        replay = asyncio.create_task(
            asyncio.to_thread(lambda: verify_run(self._owner.store, run_id, from_snapshot=from_snapshot)),
            name=f"verify {run_id}",
        )
        replay.add_done_callback(self._finished)
        return await asyncio.shield(replay)

    def _finished(self, replay: asyncio.Task[VerifyReport]) -> None:
        self._places.release()
        if not replay.cancelled():
            replay.exception()  # whoever asked may have hung up
