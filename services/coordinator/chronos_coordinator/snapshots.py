"""Snapshots of one run, written beside its service: a restart then folds the newest entries only.

A snapshot is made of durable state after the answers have left, in a thread, one at a time. It may fail: that is
logged and counted, the run is none the worse, and the next one is tried when as many entries have come again. Two are
kept, the newest and the last one before it that is known to be good. What retention allows to be forgotten is dropped
from the journal up to a version, never beyond the older of the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chronos_common.engine import RunState, VersionHistory, to_snapshot
from chronos_common.errors import StoreError, UnavailableError
from chronos_common.runtime import get_logger
from chronos_common.store import Mark, Snapshot, StreamKey
from chronos_coordinator.journal import entry_of
from chronos_coordinator.ownership import StoreOwner

log = get_logger(__name__)


class Snapshots:
    """Keeps the snapshots of one run.

    Args:
        run_id: identity.
        owner: holds the store.
        every_entries: journal entries from one to the next; 0 writes none.
        retain_versions: newest versions whose entries stay in the journal at least; 0 drops nothing.
        tell: called with the run and whether a snapshot is kept.
    """

    def __init__(
        self,
        run_id: str,
        owner: StoreOwner,
        *,
        every_entries: int,
        retain_versions: int,
        tell: Callable[[str, bool], None],
    ) -> None:
        self._run_id = run_id
        self._owner = owner
        self._every_entries = every_entries
        self._retain_versions = retain_versions
        self._tell = tell
        self._newest: Mark | None = None
        self._tried = 0
        self._task: asyncio.Task[None] | None = None

    def loaded(self, newest: Mark | None) -> None:
        """The run was read back, from this snapshot."""
        self._newest = newest
        self._tried = 0 if newest is None else newest.seq

    def offer(self, head: int, state: RunState, history: VersionHistory) -> None:
        """Begins to write a snapshot if one is due; what is given is durable up to ``head``."""
        writing = self._task is not None and not self._task.done()
        if not self._every_entries or writing or head - self._tried < self._every_entries:
            return
        self._tried = head
        self._task = asyncio.create_task(
            self._write(head, state, history.copy()), name=f"snapshot of run {self._run_id}"
        )

    async def stop(self) -> None:
        """Writes no more; one that is being written is given up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _write(self, head: int, state: RunState, history: VersionHistory) -> None:
        try:
            await self._keep(head, state, history)
        except (StoreError, UnavailableError) as error:
            log.error(
                "snapshot not kept; the run goes on without it",
                run=self._run_id,
                entry=head,
                reason=error.reason,
                error=str(error),
            )
            self._tell(self._run_id, False)
        except Exception:
            log.exception("a defect; the run goes on without a snapshot", run=self._run_id, entry=head)
            self._tell(self._run_id, False)

    async def _keep(self, head: int, state: RunState, history: VersionHistory) -> None:
        made = await asyncio.to_thread(to_snapshot, self._run_id, head, state, history)
        stream, older = StreamKey.of_run(self._run_id), self._newest
        snapshot = Snapshot(stream=stream, seq=head, meta=made.meta, payload=made.payload)
        keep = () if older is None else (older.seq,)
        await self._owner.write(lambda store: store.save_snapshot(snapshot, keep=keep))
        self._newest = Mark(seq=head, version=state.version)
        self._tell(self._run_id, True)
        if self._retain_versions and older is not None:
            await self._trim(min(older.version, state.version - self._retain_versions))

    async def _trim(self, version: int) -> None:
        """Drops what led to a version, and that itself."""
        if version < 1:
            return
        seq = await asyncio.to_thread(lambda: entry_of(self._owner.store, self._run_id, version))
        if seq:
            await self._owner.write(lambda store: store.trim(StreamKey.of_run(self._run_id), seq))
