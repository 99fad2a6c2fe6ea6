"""The worker's end of the commit chain: what was sent, what became of it, and what is owed.

An update leaves the outbox only on a *definitive* answer. Until then it may or may not have been applied,
and the chain (``prev_applied``) makes sure that exactly one of the two comes true: when a later commit is
applied, every unresolved one before it never will be.

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
    PayloadError,
    StaleCommitError,
    UnavailableError,
)
from chronos_common.versions.rounds import HYPERGRADIENT, Commit
from chronos_common.versions.staleness import exponential_weight

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What an answer settled: seqs that turned out applied, and seqs that never will be."""

    applied: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()


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
        return self._settle(seq)

    def refused(self, seq: int, error: ChronosError) -> Resolution:
        """The coordinator refused ``seq``.

        A stale update returns to the residual, a broken chain settles the commits it tells about and
        returns the rest, an update that can never be accepted is dropped. An error of availability is no
        answer: the commit stays unresolved and is to be sent again.
        """
        if isinstance(error, UnavailableError) or seq not in self._pending:
            return Resolution()
        if isinstance(error, ChainBrokenError):
            return self._settle(int(error.details["last_applied"]), recall_rest=True)
        commit = self._pending.pop(seq)
        if isinstance(error, StaleCommitError):
            self._return(commit, staleness=int(error.details["staleness"]))
        elif not isinstance(error, PayloadError):
            self._return(commit, staleness=0)
        return Resolution(dropped=(seq,))

    def resume(self, last_applied: int) -> Resolution:
        """The coordinator said where the chain stands (on Register or in a checkout)."""
        if last_applied <= self._last_applied:
            return Resolution()
        return self._settle(last_applied)

    def _settle(self, last_applied: int, *, recall_rest: bool = False) -> Resolution:
        applied, dropped = [], []
        for seq in list(self._pending):
            if seq > last_applied and not recall_rest:
                continue
            commit = self._pending.pop(seq)
            if seq == last_applied:
                applied.append(seq)
            else:
                self._return(commit, staleness=0)
                dropped.append(seq)
        self._last_applied = max(self._last_applied, last_applied)
        self._next_seq = max(self._next_seq, self._last_applied + 1)
        return Resolution(applied=tuple(applied), dropped=tuple(dropped))

    def _return(self, commit: Commit[Arrays], *, staleness: int) -> None:
        if commit.update is None:
            return
        keep = exponential_weight(staleness, self._decay) if self._kind == HYPERGRADIENT else 1.0
        returned = {name: value * value.dtype.type(keep) for name, value in commit.update.items()}
        self._residual = self._with_residual(returned)

    def _with_residual(self, update: Arrays) -> dict[str, NDArray[Any]]:
        if not self._residual:
            return {name: np.asarray(value) for name, value in update.items()}
        return {name: value + self._residual[name] for name, value in update.items()}
