"""Every sample exactly once in each epoch, whoever comes, goes or dies: who holds what, and what is left.

The samples of a step are fixed by the plan alone. A step is *dealt* to all members at once, in a *turn*; each of them
then holds a *share* under a lease that ends when it reports the share as finished, or leaves. What somebody who left
had not finished is dealt again, in a further turn, as another part of the same step. So at any time each sample of the
epoch is in exactly one place: in a step that is not dealt yet, in one open share, among what came back, or finished.

Pure: events in, shares out. The caller makes an event durable before anybody hears of what follows from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from chronos_common.data.events import Begun, DataEvent, Dealt, Finished, Joined, Left, Rewound
from chronos_common.data.plan import Indices
from chronos_common.data.source import DealtShare
from chronos_common.data.turns import (
    Turn,
    indices_from_text,
    indices_to_text,
    make_share,
    restored_turn,
    turn_state,
)
from chronos_common.errors import (
    CorruptStateError,
    EpochNotOverError,
    InvalidRequestError,
    ShareLostError,
    WorkerNotMemberError,
)

REMEMBERED_LOSSES: Final = 4096
"""Shares that were taken away and are still recognised when their holder reports them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Due:
    """What may be dealt next: a step of the plan (``indices`` is ``None``), or what came back of one."""

    epoch: int
    step: int
    part: int = 0
    indices: Indices | None = None


class Ledger:
    """Who holds which samples.

    Args:
        steps: of one epoch.
        lookahead: turns that may be open at once.
        quorum: members that must be there before the first step is dealt; from then on one is enough.
    """

    def __init__(self, *, steps: int, lookahead: int = 4, quorum: int = 1) -> None:
        self._steps = steps
        self._lookahead = lookahead
        self._quorum = quorum
        self._epoch = 0
        self._next_step = 0
        self._next_turn = 1
        self._finished = 0
        self._members: dict[str, int] = {}
        self._open: dict[int, Turn] = {}
        self._returned: list[tuple[int, Indices]] = []
        self._parts: dict[int, int] = {}
        self._lost: dict[tuple[str, int], None] = {}

    # --- what there is -----------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The one that is worked on, from 0."""
        return self._epoch

    @property
    def next_step(self) -> int:
        """The first step that is not dealt yet."""
        return self._next_step

    @property
    def next_turn(self) -> int:
        """Number of the next turn."""
        return self._next_turn

    @property
    def finished(self) -> int:
        """Samples finished in this epoch."""
        return self._finished

    @property
    def members(self) -> tuple[str, ...]:
        """Workers that take part, sorted."""
        return tuple(sorted(self._members))

    @property
    def open_samples(self) -> int:
        """Samples that somebody holds."""
        return sum(len(share.indices) for turn in self._open.values() for share in turn.shares.values())

    @property
    def returned_samples(self) -> int:
        """Samples that came back and wait to be dealt again."""
        return sum(len(indices) for _, indices in self._returned)

    @property
    def over(self) -> bool:
        """Whether the epoch is: every sample of it is finished."""
        return self._next_step >= self._steps and not self._open and not self._returned

    def shares(self, worker: str, after: int = 0) -> list[DealtShare]:
        """Shares that a worker holds, of turns above ``after``, in order."""
        return [
            turn.shares[worker]
            for number, turn in sorted(self._open.items())
            if number > after and worker in turn.shares
        ]

    def due(self) -> list[Due]:
        """What may be dealt now, the most urgent first; any one of them, then ask again."""
        first = self._epoch == 0 and self._next_step == 0
        if not self._members or (first and len(self._members) < self._quorum):
            return []
        if len(self._open) >= self._lookahead:
            return []
        waiting = [
            Due(epoch=self._epoch, step=step, part=self._parts.get(step, 0) + 1, indices=indices)
            for step, indices in self._returned
        ]
        if self._next_step < self._steps:
            waiting.append(Due(epoch=self._epoch, step=self._next_step))
        return waiting

    # --- decisions: an event, or a refusal, or None for what happened already -----------------------

    def decide_finish(self, worker: str, turn: int, seconds: float = 0.0) -> Finished | None:
        """A worker reports its share of a turn.

        Raises:
            WorkerNotMemberError: it does not take part (any more).
            ShareLostError: the share went to others.
            InvalidRequestError: there was no such share.
        """
        if worker not in self._members:
            raise WorkerNotMemberError(
                f"worker {worker!r} takes no part in this data plan; join again, and drop what it held",
                worker_id=worker,
            )
        opened = self._open.get(turn)
        if opened is not None and worker in opened.shares:
            return Finished(worker=worker, turn=turn, seconds=seconds)
        if (worker, turn) in self._lost:
            raise ShareLostError(
                f"the share of turn {turn} was given to others while worker {worker!r} was away; drop its result",
                worker_id=worker,
                turn=turn,
            )
        if not 1 <= turn < self._next_turn:
            raise InvalidRequestError(
                f"turn is {turn}; turns up to {self._next_turn - 1} have been dealt", field="turn"
            )
        return None

    def decide_begin(self, epoch: int) -> Begun | None:
        """Somebody asks for an epoch.

        Raises:
            EpochNotOverError: it is not the next one, or the one before is not over.
        """
        if epoch == self._epoch:
            return None
        if epoch == self._epoch + 1 and self.over:
            return Begun(epoch=epoch)
        raise EpochNotOverError(
            f"epoch {epoch} cannot begin: the plan is in epoch {self._epoch}, which is "
            f"{'over' if self.over else 'not over'}; ask for {self._epoch + 1 if self.over else self._epoch}",
            epoch=self._epoch,
        )

    # --- the fold ----------------------------------------------------------------------------------

    def apply(self, event: DataEvent) -> None:
        """Takes an event. Raises ``CorruptStateError`` for one that cannot follow."""
        match event:
            case Joined():
                self._take_back(event.worker)
                self._members[event.worker] = self._next_turn
            case Left():
                self._take_back(event.worker)
                self._members.pop(event.worker, None)
            case Dealt():
                self._deal(event)
            case Finished():
                self._finish(event)
            case Begun():
                _require(self.over and event.epoch == self._epoch + 1, event)
                self._epoch, self._next_step, self._finished = event.epoch, 0, 0
                self._parts.clear()
            case Rewound():
                self._rewind(event)

    def _deal(self, event: Dealt) -> None:
        _require(event.turn == self._next_turn and event.epoch == self._epoch, event)
        _require(set(event.workers) == set(self._members), event)
        if event.part:
            entry = next((e for e in self._returned if e[0] == event.step), (0, np.empty(0, np.int64)))
            _require(np.array_equal(np.sort(entry[1]), np.sort(event.indices)), event)
            self._returned = [other for other in self._returned if other is not entry]
            self._parts[event.step] = event.part
        else:
            _require(event.step == self._next_step < self._steps, event)
            self._next_step += 1
        turn = Turn(
            epoch=event.epoch,
            step=event.step,
            part=event.part,
            total_count=len(event.indices),
            total_size=float(event.sizes.sum()),
            workers=len(event.workers),
        )
        for position, worker in enumerate(event.workers):
            turn.shares[worker] = make_share(
                turn,
                event.turn,
                worker,
                event.indices[event.offsets[position] : event.offsets[position + 1]],
                float(event.costs[position]),
                float(event.sizes[position]),
            )
        self._open[event.turn] = turn
        self._next_turn += 1

    def _finish(self, event: Finished) -> None:
        _require(event.turn in self._open and event.worker in self._open[event.turn].shares, event)
        turn = self._open[event.turn]
        self._finished += len(turn.shares.pop(event.worker).indices)
        if not turn.shares:
            del self._open[event.turn]

    def _take_back(self, worker: str) -> None:
        """What a worker held is free again; of one step it is one entry, so that parts stay few."""
        for number, turn in sorted(self._open.items()):
            share = turn.shares.pop(worker, None)
            if share is None:
                continue
            self._lose(worker, number)
            self._return(turn.step, share.indices)
            if not turn.shares:
                del self._open[number]

    def _return(self, step: int, indices: Indices) -> None:
        if not len(indices):
            return
        for position, (other, before) in enumerate(self._returned):
            if other == step:
                self._returned[position] = (step, np.concatenate([before, indices]))
                return
        self._returned.append((step, indices))
        self._returned.sort(key=lambda entry: entry[0])

    def _lose(self, worker: str, turn: int) -> None:
        self._lost[worker, turn] = None
        while len(self._lost) > REMEMBERED_LOSSES:
            del self._lost[next(iter(self._lost))]

    def _rewind(self, event: Rewound) -> None:
        kept = Ledger.restore(
            json.loads(event.state), steps=self._steps, lookahead=self._lookahead, quorum=self._quorum
        )
        for number, turn in sorted(self._open.items()):
            for worker in turn.shares:
                self._lose(worker, number)
        for worker in kept.members:
            kept.apply(Left(worker=worker))
        self._open = {}
        self._epoch, self._next_step, self._finished = kept._epoch, kept._next_step, kept._finished
        self._returned, self._parts = kept._returned, kept._parts
        self._next_turn = max(self._next_turn, kept._next_turn)

    # --- keeping -----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "epoch": self._epoch,
            "next_step": self._next_step,
            "next_turn": self._next_turn,
            "finished": self._finished,
            "members": dict(sorted(self._members.items())),
            "open": [turn_state(number, turn) for number, turn in sorted(self._open.items())],
            "returned": [[step, indices_to_text(indices)] for step, indices in self._returned],
            "parts": [[step, part] for step, part in sorted(self._parts.items())],
            "lost": [[worker, turn] for worker, turn in self._lost],
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], *, steps: int, lookahead: int = 4, quorum: int = 1) -> Ledger:
        """The ledger whose :meth:`state` this was. Raises ``CorruptStateError`` where it was none."""
        ledger = cls(steps=steps, lookahead=lookahead, quorum=quorum)
        try:
            ledger._epoch, ledger._next_step = int(state["epoch"]), int(state["next_step"])
            ledger._next_turn, ledger._finished = int(state["next_turn"]), int(state["finished"])
            ledger._members = {str(worker): int(turn) for worker, turn in state["members"].items()}
            for kept in state["open"]:
                ledger._open[int(kept["turn"])] = restored_turn(kept)
            ledger._returned = [(int(step), indices_from_text(text)) for step, text in state["returned"]]
            ledger._parts = {int(step): int(part) for step, part in state["parts"]}
            ledger._lost = {(str(worker), int(turn)): None for worker, turn in state["lost"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptStateError(f"this is no state of a data plan: {error!r}") from error
        if not (ledger._epoch >= 0 and 0 <= ledger._next_step <= steps):
            raise CorruptStateError(
                f"this state is at step {ledger._next_step} of a plan with {steps} steps; it is of another plan"
            )
        return ledger


def fold(ledger: Ledger, events: Iterable[DataEvent]) -> Ledger:
    """The ledger after the events."""
    for event in events:
        ledger.apply(event)
    return ledger


def remaining(ledger: Ledger, steps: Sequence[Indices]) -> Indices:
    """Indices of the epoch that nobody has finished, given those of every step; sorted."""
    parts = [indices for _, indices in ledger._returned]
    parts += [share.indices for turn in ledger._open.values() for share in turn.shares.values()]
    parts += list(steps[ledger.next_step :])
    return np.sort(np.concatenate([np.empty(0, np.int64), *parts]))


def _require(holds: bool, event: DataEvent) -> None:
    if not holds:
        raise CorruptStateError(f"a {type(event).__name__} that cannot follow in this data plan: {event}")
