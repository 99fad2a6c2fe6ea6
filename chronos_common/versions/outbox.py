"""The worker's end of the commit chain: what was sent, what became of it, and what is owed.

An update leaves the outbox only on a *definitive* answer. Until then it may or may not have been applied,
and the chain (``prev_applied``) makes sure that exactly one of the two comes true: of all commits that
follow the same one, at most one is ever applied.

The residual holds what the coordinator refused: a hypergradient returns multiplied by the weight of its
staleness, a parameter delta returns whole. It also holds what a compressor left out and what a filter held
back. It is added to the next update. Everything that the worker produced is therefore applied, in the residual,
still unresolved, or counted as discounted or discarded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

Compress = Callable[[Arrays], tuple[bytes, Arrays, Arrays]]
"""Payload of an update, what the coordinator decodes from it, and what it leaves out (empty for nothing)."""

Observe = Callable[[str, Arrays, float], None]
"""Told of every share of an update that is produced, applied, discounted or discarded, by that word."""

Keep = Callable[[int], float]
"""Share of an update that is kept when it returns unapplied, by its base version."""


def _whole(_base: int) -> float:
    return 1.0


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What an answer settled: seqs that turned out applied, and seqs that never will be.

    Of the dropped, the updates of the ``discarded`` are lost; those of the others are in the residual.
    """

    applied: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    discarded: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OutboxState:
    """Everything that an outbox remembers, for a disk; arrays and payloads in it are never written to.

    Written before a commit leaves, it is enough whatever becomes of that commit. It holds the residual without the
    update, and the update beside it: if the chain ends with the commit, the residual is as it stands; if it never
    will, the update goes back into it. So nothing has to be written when the answer comes.

    Attributes:
        incarnation: of the process that wrote it.
        last_applied: last commit known to be applied.
        residual: what waits for the next update.
        unresolved: commits without a definitive answer, oldest first, each with its payload if there is one.
    """

    incarnation: int
    last_applied: int
    residual: Arrays
    unresolved: tuple[tuple[Commit[Arrays], bytes | None], ...]

    def continues(self, last_applied: int, applied_by: int) -> bool:
        """Whether a chain that ends there is where this state left it, or one unresolved commit further.

        Any other chain holds commits that this state knows nothing of (an older file, a process that kept none, a
        coordinator that was set back): what is residual to it may have been applied since.
        """
        sent = {(commit.seq, commit.incarnation) for commit, _ in self.unresolved}
        return last_applied == self.last_applied or (last_applied, applied_by) in sent


class Outbox:
    """Sequence numbers, unresolved updates and the residual of one worker in one run.

    Args:
        worker_id: stable name of the worker.
        incarnation: from Register.
        last_applied: where the server says that the chain stands.
        kind: kind of the run's updates.
        decay: of a hypergradient that returns, for each version of its staleness, unless the coordinator says
            with its refusal what the run's rule makes of it.
        compress: makes the payload of an update; without one, updates travel whole and have no payload here.
        observe: for a ledger.
    """

    def __init__(
        self,
        worker_id: str,
        incarnation: int,
        *,
        last_applied: int = 0,
        kind: str = HYPERGRADIENT,
        decay: float = 0.5,
        compress: Compress | None = None,
        observe: Observe | None = None,
    ) -> None:
        self._worker_id = worker_id
        self._incarnation = incarnation
        self._last_applied = last_applied
        self._next_seq = last_applied + 1
        self._kind = kind
        self._decay = decay
        self._pending: dict[int, Commit[Arrays]] = {}
        self._payloads: dict[int, bytes] = {}
        self._residual: dict[str, NDArray[Any]] = {}
        self._compress = compress
        self._observe = observe

    @classmethod
    def restored(
        cls,
        worker_id: str,
        incarnation: int,
        state: OutboxState,
        *,
        last_applied: int,
        applied_by: int,
        kind: str = HYPERGRADIENT,
        decay: float = 0.5,
        compress: Compress | None = None,
        observe: Observe | None = None,
        keep: Keep = _whole,
    ) -> tuple[Outbox, Resolution]:
        """The outbox of a new process of the same worker, and what became of the commits before it.

        Its incarnation supersedes the one that made them, so that every one of them is decided: the server's
        last applied seq was applied, if that incarnation sent it; whatever has no place in the chain before it
        never will be, and returns to the residual, as far as ``keep`` says. A commit of the same incarnation, which
        left the run and came back, is decided only as far as the chain decides it.

        Args:
            worker_id: stable name of the worker.
            incarnation: the new one, from Register.
            state: what the earlier process left behind; it ``continues`` the chain that the server tells.
            last_applied: where the server says that the chain stands, after Register.
            applied_by: the incarnation whose commit that is.
            kind: kind of the run's updates.
            decay: as in the constructor.
            compress: as in the constructor.
            observe: as in the constructor.
            keep: of a hypergradient that was never applied: it may have been refused as stale, which nobody heard.
        """
        box = cls(
            worker_id,
            incarnation,
            last_applied=last_applied,
            kind=kind,
            decay=decay,
            compress=compress,
            observe=observe,
        )
        box._residual = {name: np.array(value) for name, value in state.residual.items()}
        if state.incarnation == incarnation:
            return box, box._go_on(state, last_applied)
        applied, dropped = [], []
        for commit, _ in state.unresolved:
            own = applied_by == commit.incarnation == state.incarnation
            if own and commit.seq == last_applied:
                applied.append(commit.seq)
                box._tell("applied", commit.update)
            else:
                dropped.append(commit.seq)
                box._return(commit, keep=keep(commit.base) if kind == HYPERGRADIENT else 1.0)
        return box, Resolution(applied=tuple(applied), dropped=tuple(dropped))

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

    def payload(self, seq: int) -> bytes | None:
        """Payload of an unresolved commit: the same for every repetition; ``None`` without a compressor."""
        return self._payloads.get(seq)

    def state(self) -> OutboxState:
        """What :meth:`restored` needs; to be durable before the newest commit leaves."""
        unresolved = tuple((commit, self._payloads.get(seq)) for seq, commit in self._pending.items())
        return OutboxState(
            incarnation=self._incarnation,
            last_applied=self._last_applied,
            residual=self.residual,
            unresolved=unresolved,
        )

    def with_residual(self, update: Arrays) -> dict[str, NDArray[Any]]:
        """What :meth:`prepare` would send: a copy of the update, with the residual added; nothing changes."""
        return self._with_residual(update)

    def hold(self, update: Arrays) -> None:
        """Puts an update into the residual instead of sending it; commit a skip in its place."""
        self._residual = self._with_residual(update)
        self._tell("produced", update)

    def prepare(self, update: Arrays | None, base: int, *, work: float = 1.0) -> Commit[Arrays]:
        """Makes the next commit; the residual goes with it. ``None`` makes a skip, which leaves the residual.

        With a compressor, the commit holds what the coordinator will decode, and the rest is the residual.

        Raises:
            PayloadError: the compressor cannot encode the update; nothing has changed then.
        """
        payload = None
        if update is not None:
            produced, update = update, self._with_residual(update)
            owed: Arrays = {}
            if self._compress is not None:
                payload, update, owed = self._compress(update)
            self._residual = dict(owed)
            self._tell("produced", produced)
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
        if payload is not None:
            self._payloads[commit.seq] = payload
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
        self._payloads.pop(seq, None)
        if isinstance(error, PayloadError):
            self._tell("discarded", commit.update)
            return Resolution(dropped=(seq,), discarded=(seq,))
        self._return(commit, keep=self._kept(error))
        return Resolution(dropped=(seq,))

    def resume(self, last_applied: int) -> Resolution:
        """The coordinator said where this incarnation's chain stands (on Register or in a checkout)."""
        if last_applied <= self._last_applied:
            return Resolution()
        return self._settle(last_applied, own=True)

    def _go_on(self, state: OutboxState, last_applied: int) -> Resolution:
        for commit, payload in state.unresolved:
            self._pending[commit.seq] = commit
            if payload is not None:
                self._payloads[commit.seq] = payload
        self._next_seq = max([self._last_applied, *self._pending]) + 1
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
                self._tell("applied", commit.update)
            elif commit.prev_applied < last_applied:
                self._return(commit)
                dropped.append(seq)
            else:
                continue
            del self._pending[seq]
            self._payloads.pop(seq, None)
        self._last_applied = max(self._last_applied, last_applied)
        self._next_seq = max(self._next_seq, self._last_applied + 1)
        return Resolution(applied=tuple(applied), dropped=tuple(dropped))

    def _kept(self, error: ChronosError) -> float:
        """How much of a refused update returns to the residual."""
        if self._kind != HYPERGRADIENT or not isinstance(error, StaleCommitError):
            return 1.0
        told = error.details.get("weight")
        if told is not None:
            return float(told)
        return exponential_weight(int(error.details["staleness"]), self._decay)

    def _return(self, commit: Commit[Arrays], *, keep: float = 1.0) -> None:
        if commit.update is None:
            return
        returned = {name: np.asarray(value * value.dtype.type(keep)) for name, value in commit.update.items()}
        self._residual = self._with_residual(returned)
        self._tell("discounted", commit.update, 1.0 - keep)

    def _tell(self, term: str, arrays: Arrays | None, share: float = 1.0) -> None:
        if self._observe is not None and arrays is not None and share:
            self._observe(term, arrays, share)

    def _with_residual(self, update: Arrays) -> dict[str, NDArray[Any]]:
        """A copy of the update, with the residual added: the caller may go on writing to its arrays."""
        if not self._residual:
            return {name: np.array(value) for name, value in update.items()}
        return {name: np.asarray(value + self._residual[name]) for name, value in update.items()}
