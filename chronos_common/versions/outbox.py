"""The worker's end of the commit chain: what was sent, what became of it, and what is owed.

An update leaves the outbox only on a *definitive* answer. Until then it may or may not have been applied,
and the chain (``prev_applied``) makes sure that exactly one of the two comes true: of all commits that
follow the same one, at most one is ever applied.

The residual holds what the coordinator refused: a hypergradient returns multiplied by its decay, a
parameter delta returns whole. It is added to the next update. Everything that the worker produced is
therefore applied, in the residual, still unresolved, or counted as discounted or discarded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import (
    ChainBrokenError,
    ChronosError,
    IncarnationSupersededError,
    PayloadError,
    RefusalError,
    StaleCommitError,
)
from chronos_common.versions.rounds import HYPERGRADIENT, Commit
from chronos_common.versions.staleness import exponential_weight

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What an answer settled: seqs that turned out applied, and seqs that never will be.

    Of the dropped, the updates of the ``discarded`` are lost; those of the others are in the residual.
    """

    applied: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    discarded: tuple[int, ...] = ()


class Outbox:
    """Sequence numbers, unresolved updates and the residual of one worker in one run.

    Args:
        worker_id: stable name of the worker.
        incarnation: from Register.
        last_applied: where the server says that the chain stands.
        kind: kind of the run's updates.
        decay: the run's staleness decay, for hypergradients that return.
    """

    def __init__(
        self,
        worker_id: str,
        incarnation: int,
        *,
        last_applied: int = 0,
        kind: str = HYPERGRADIENT,
        decay: float = 0.5,
    ) -> None:
        self._worker_id = worker_id
        self._incarnation = incarnation
        self._last_applied = last_applied
        self._next_seq = last_applied + 1
        self._kind = kind
        self._decay = decay
        self._pending: dict[int, Commit[Arrays]] = {}
        self._residual: dict[str, NDArray[Any]] = {}

    @property
    def last_applied(self) -> int:
        """Last commit known to be applied."""
        return self._last_applied

    @property
    def residual(self) -> Arrays:
        """What was refused and waits to be sent with the next update; empty for none."""
        return dict(self._residual)

    @property
    def unresolved(self) -> tuple[Commit[Arrays], ...]:
        """Commits without a definitive answer, oldest first."""
        return tuple(self._pending.values())

    def prepare(self, update: Arrays | None, base: int, *, work: float = 1.0) -> Commit[Arrays]:
        """Makes the next commit; the residual goes with it. ``None`` makes a skip, which leaves the residual."""
        if update is not None:
            update = self._with_residual(update)
            self._residual = {}
        commit: Commit[Arrays] = Commit(
            worker_id=self._worker_id,
            incarnation=self._incarnation,
            seq=self._next_seq,
            prev_applied=self._last_applied,
            base=base,
            work=work,
            update=update,
        )
        self._next_seq += 1
        self._pending[commit.seq] = commit
        return commit

    def accepted(self, seq: int) -> Resolution:
        """The coordinator applied ``seq``: what came before it and is unresolved never will be."""
        return self._settle(seq, own=True)

    def refused(self, seq: int, error: ChronosError) -> Resolution:
        """The coordinator refused ``seq``, or something failed on the way.

        A stale update returns to the residual, a broken chain settles the commits that it tells about, an
        update that can never be accepted is discarded. Anything but a refusal is no answer: the commit may
        have been applied, stays unresolved and is to be sent again. So is "superseded", which says nothing
        of a commit that was applied before the newer process took over; this one has to stop anyway.
        """
        definitive = isinstance(error, RefusalError | PayloadError)
        if not definitive or isinstance(error, IncarnationSupersededError) or seq not in self._pending:
            return Resolution()
        if isinstance(error, ChainBrokenError):
            owner = int(error.details.get("incarnation", self._incarnation))
            return self._settle(int(error.details["last_applied"]), own=owner == self._incarnation)
        commit = self._pending.pop(seq)
        if isinstance(error, PayloadError):
            return Resolution(dropped=(seq,), discarded=(seq,))
        staleness = int(error.details["staleness"]) if isinstance(error, StaleCommitError) else 0
        self._return(commit, staleness=staleness)
        return Resolution(dropped=(seq,))

    def resume(self, last_applied: int) -> Resolution:
        """The coordinator said where this incarnation's chain stands (on Register or in a checkout)."""
        if last_applied <= self._last_applied:
            return Resolution()
        return self._settle(last_applied, own=True)

    def _settle(self, last_applied: int, *, own: bool) -> Resolution:
        """Resolves what the end of the server's chain decides.

        A commit can be applied only on top of its ``prev_applied``, and the chain never goes back: what
        follows an earlier link is out for good. What follows the told link or a later one is still open,
        since the answer may be an old one that was delayed.
        """
        applied, dropped = [], []
        for seq, commit in list(self._pending.items()):
            if own and seq == last_applied:
                applied.append(seq)
            elif commit.prev_applied < last_applied:
                self._return(commit, staleness=0)
                dropped.append(seq)
            else:
                continue
            del self._pending[seq]
        self._last_applied = max(self._last_applied, last_applied)
        self._next_seq = max(self._next_seq, self._last_applied + 1)
        return Resolution(applied=tuple(applied), dropped=tuple(dropped))

    def _return(self, commit: Commit[Arrays], *, staleness: int) -> None:
        if commit.update is None:
            return
        keep = exponential_weight(staleness, self._decay) if self._kind == HYPERGRADIENT else 1.0
        returned = {name: np.asarray(value * value.dtype.type(keep)) for name, value in commit.update.items()}
        self._residual = self._with_residual(returned)

    def _with_residual(self, update: Arrays) -> dict[str, NDArray[Any]]:
        """A copy of the update, with the residual added: the caller may go on writing to its arrays."""
        if not self._residual:
            return {name: np.array(value) for name, value in update.items()}
        return {name: np.asarray(value + self._residual[name]) for name, value in update.items()}
