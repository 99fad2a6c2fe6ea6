"""Following a run until it ends, while somebody looks after the processes that work on it.

All calls of a command go through one client and one event loop: gRPC shares its queue of events between the
loops of a process, so that what a closed loop has left there would fail in the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from chronos_common.engine import RunView, VersionRecord
from chronos_common.errors import UnavailableError
from chronos_common.wire import SyncCoordinatorClient

HEALTH_SECONDS = 0.25
GIVE_UP_SECONDS = 30.0


def follow(
    client: SyncCoordinatorClient,
    run_id: str,
    *,
    on_version: Callable[[VersionRecord], object],
    on_view: Callable[[RunView], object] | None = None,
    after_version: int = 0,
    check: Callable[[], object] | None = None,
    give_up_seconds: float = GIVE_UP_SECONDS,
    stall_seconds: float | None = None,
) -> str:
    """Calls ``on_version`` for every version above ``after_version`` until the run ends; its last status.

    Args:
        client: of the coordinator.
        run_id: the run.
        on_version: called in order, by the thread of the client.
        on_view: called with the run as it is after a version that is news to the last view, likewise.
        after_version: the last version that is known.
        check: called several times a second, by that thread too; what it raises ends the wait.
        give_up_seconds: how long the coordinator may be away.
        stall_seconds: how long the run may go without a version; None is for ever.

    Raises:
        RunNotFoundError: no such run.
        UnavailableError: the coordinator is away for too long, or the run stalls.
    """
    heard, look = time.monotonic(), _looks(client, run_id, on_view)

    async def watch() -> str:
        nonlocal heard
        status = ""
        updates = client.asynchronous.watch_run(
            run_id, after_version=after_version, give_up_seconds=give_up_seconds
        )
        async for update in updates:
            status, heard = update.status, time.monotonic()
            if update.record is not None:
                on_version(update.record)
                await look(update.record.version)
        return status

    async def look_after() -> None:
        while True:
            if check is not None:
                check()
            if stall_seconds is not None and time.monotonic() - heard > stall_seconds:
                raise UnavailableError(f"run {run_id} made no version within {stall_seconds:g} s")
            await asyncio.sleep(HEALTH_SECONDS)

    async def both() -> str:
        watching, health = asyncio.create_task(watch()), asyncio.create_task(look_after())
        try:
            await asyncio.wait({watching, health}, return_when=asyncio.FIRST_COMPLETED)
            if health.done():
                health.result()
            return await watching
        finally:
            watching.cancel()
            health.cancel()
            await asyncio.gather(watching, health, return_exceptions=True)

    return client.run(both())


def _looks(
    client: SyncCoordinatorClient, run_id: str, on_view: Callable[[RunView], object] | None
) -> Callable[[int], Awaitable[None]]:
    """What looks at the run, unless the version was out already at the last look."""
    seen = -1

    async def look(version: int) -> None:
        nonlocal seen
        if on_view is None or version <= seen:
            return
        # Between two connections nothing is seen; the watch goes on when there is one again.
        with contextlib.suppress(UnavailableError):
            view = await client.asynchronous.get_run(run_id)
            seen = view.version
            on_view(view)

    return look
