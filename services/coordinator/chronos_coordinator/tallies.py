"""What is counted of runs outside of their state: refusals, repetitions, bytes; a restart goes on counting.

None of it is decided, so none of it is in the journal, and ``verify`` proves none of it. It is written beside the runs
every so often and at the end, all that has changed in one write: a coordinator that is killed forgets what it counted
since the last one.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Final

from chronos_common.errors import CorruptStateError, RunNotActiveError, StoreError, UnavailableError
from chronos_common.runtime import get_logger
from chronos_common.store import RunRecord
from chronos_coordinator.ownership import StoreOwner
from chronos_coordinator.view import Traffic

log = get_logger(__name__)

FAILURE_PAUSE: Final = 30
"""After a write that failed, the next one waits for so many intervals: counting is worth no store that breaks."""


@dataclass(kw_only=True)
class Tally:
    """Counts of one run.

    Attributes:
        refused: refused commits by reason.
        duplicate: commits that had been applied before.
        traffic: bytes of its calls.
    """

    refused: Counter[str] = field(default_factory=Counter)
    duplicate: int = 0
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def refused_in_time(self) -> int:
        """Commits that were refused while the run was active."""
        return self.refused.total() - self.refused[RunNotActiveError.reason]

    def to_json(self) -> str:
        """As text; Prometheus series are not made of it, they begin with the process."""
        fields = {"refused": dict(self.refused), "duplicate": self.duplicate, "traffic": asdict(self.traffic)}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Tally:
        """Inverse of :meth:`to_json`.

        Raises:
            CorruptStateError: not such a text.
        """
        try:
            fields = json.loads(text)
            numbers = [fields["duplicate"], *fields["refused"].values(), *fields["traffic"].values()]
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise ValueError("a count is no count")
            return cls(
                refused=Counter(fields["refused"]),
                duplicate=fields["duplicate"],
                traffic=Traffic(**fields["traffic"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptStateError(f"stored counts of a run cannot be read: {error!r}") from error


class Tallies:
    """The tallies of all runs, and the task that keeps them.

    Args:
        owner: holds the store.
        every_seconds: from one write to the next, if anything has changed.
    """

    def __init__(self, owner: StoreOwner, *, every_seconds: float) -> None:
        self._owner = owner
        self._every_seconds = every_seconds
        self._tallies: dict[str, Tally] = {}
        self._changed: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self, records: Iterable[RunRecord]) -> None:
        """Goes on from what is stored, and keeps it from now on; what cannot be read begins anew."""
        for record in records:
            if record.counts:
                try:
                    self._tallies[record.run_id] = Tally.from_json(record.counts)
                except CorruptStateError as error:
                    log.warning("counts begin anew", run=record.run_id, error=str(error))
        self._task = asyncio.create_task(self._keep(), name="tallies")

    async def stop(self) -> None:
        """Writes what has changed, and no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._write()

    def of(self, run_id: str) -> Tally:
        """The tally of a run, for reading."""
        return self._tallies.get(run_id, Tally())

    def changed(self, run_id: str) -> Tally:
        """The tally of a run, to be changed at once."""
        self._changed.add(run_id)
        return self._tallies.setdefault(run_id, Tally())

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._every_seconds)
            if not await self._write():
                await asyncio.sleep(self._every_seconds * FAILURE_PAUSE)

    async def _write(self) -> bool:
        """Makes what has changed durable; whether that is so."""
        changed, self._changed = self._changed, set()
        if not changed:
            return True
        counts = {run_id: self._tallies[run_id].to_json() for run_id in changed}
        try:
            await self._owner.write(lambda store: store.put_counts(counts))
        except (StoreError, UnavailableError) as error:
            self._changed |= changed
            log.warning("counts not kept", runs=len(counts), reason=error.reason, error=str(error))
            return False
        return True
