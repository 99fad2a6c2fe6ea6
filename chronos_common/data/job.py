"""A data plan as a coordinator keeps it: members, leases and speeds, a fold over the plan's events."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from chronos_common.data.dealing import Dealer
from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.events import DataEvent, Dealt, Finished, Joined, Left, Rewound
from chronos_common.data.ledger import Ledger, remaining
from chronos_common.data.source import DealtShare
from chronos_common.errors import (
    CorruptStateError,
    InvalidRequestError,
    RankTakenError,
    ShareLostError,
    WorkerNotMemberError,
)
from chronos_common.fleet import SpeedTable

MOST_SECONDS: Final = 1e9
LEAST_SECONDS: Final = 1e-9
"""Less than a clock can tell; such a report counts as not measured."""
IMBALANCE_RATE: Final = 0.1
"""Weight of the newest turn in the imbalance that is shown."""


@dataclass(frozen=True, kw_only=True)
class Membership:
    """A worker's part in a plan; ``rank`` is -1 where it has none."""

    incarnation: int
    rank: int = -1
    node: int = 0


class DataJob:
    """Decides what happens to one plan; what it emits must become durable before anybody hears of it.

    Args:
        config: the definition.
    """

    def __init__(self, config: DataPlanConfig) -> None:
        self.config = config
        self.ledger = Ledger(steps=config.steps, lookahead=config.lookahead, quorum=config.workers)
        self.speeds = SpeedTable()
        self.members: dict[str, Membership] = {}
        self.finished: dict[str, int] = {}
        """Samples that each worker finished, over all epochs."""
        self.imbalance: float | None = None
        self._seconds: dict[int, list[float]] = {}
        self._events: list[DataEvent] = []

    def take_events(self) -> list[DataEvent]:
        """What was decided since this was last asked."""
        events, self._events = self._events, []
        return events

    # --- commands ----------------------------------------------------------------------------------

    def join(self, worker: str, incarnation: int, rank: int = -1, node: int = 0) -> None:
        """Makes a process a member; one that is a member already stays what it is.

        Raises:
            RankTakenError: another member has the rank.
            InvalidRequestError: a node in a plan that is not partitioned, or more members than samples.
        """
        if node and not self.config.partitioned:
            raise InvalidRequestError(
                f"node is {node}, but the plan is not partitioned; leave it out", field="node"
            )
        taken = next((n for n, m in self.members.items() if n != worker and m.rank == rank >= 0), None)
        if taken is not None:
            raise RankTakenError(
                f"rank {rank} is worker {taken!r}, which is alive; give every worker a rank of its own",
                rank=rank,
                worker_id=taken,
            )
        if worker not in self.members and len(self.members) >= self.config.samples:
            raise InvalidRequestError(
                f"{len(self.members)} workers share {self.config.samples} samples already; use fewer workers"
            )
        if self.members.get(worker) != Membership(incarnation=incarnation, rank=rank, node=node):
            self._emit(Joined(worker=worker, incarnation=incarnation, rank=rank, group=node))

    def leave(self, worker: str, incarnation: int) -> None:
        """Ends the membership of one process, if there is one; a newer process of that name stays."""
        member = self.members.get(worker)
        if member is not None and member.incarnation == incarnation:
            self._emit(Left(worker=worker))

    def require_member(self, worker: str, incarnation: int) -> None:
        """Raises ``WorkerNotMemberError`` unless this process takes part."""
        member = self.members.get(worker)
        if member is None or member.incarnation != incarnation:
            raise WorkerNotMemberError(
                f"worker {worker!r} takes no part in this data plan; join again, and drop what it held",
                worker_id=worker,
            )

    def finish(self, worker: str, incarnation: int, done: Sequence[tuple[int, float]]) -> list[int]:
        """Takes (turn, seconds) of shares; those that had gone to others.

        Raises:
            WorkerNotMemberError: it takes no part.
            InvalidRequestError: seconds that cannot be, or a turn that never was; nothing has changed.
        """
        self.require_member(worker, incarnation)
        for turn, seconds in done:
            if not 0.0 <= seconds <= MOST_SECONDS:
                raise InvalidRequestError(
                    f"seconds of turn {turn} is {seconds}; it must lie in 0 (not measured) to {MOST_SECONDS:g}",
                    field="seconds",
                )
            if not 1 <= turn < self.ledger.next_turn:
                raise InvalidRequestError(
                    f"turn is {turn}; turns up to {self.ledger.next_turn - 1} have been dealt", field="turn"
                )
        lost = []
        for turn, seconds in done:
            try:
                measured = seconds if seconds >= LEAST_SECONDS else 0.0
                event = self.ledger.decide_finish(worker, turn, measured)
            except ShareLostError:
                lost.append(turn)
                continue
            if event is not None:
                self._emit(event)
        return lost

    def begin(self, epoch: int) -> None:
        """Begins an epoch; raises as ``Ledger.decide_begin``."""
        event = self.ledger.decide_begin(epoch)
        if event is not None:
            self._emit(event)

    def save(self) -> str:
        """What a checkpoint keeps, as JSON: the ledger, and whose it is."""
        kept = {"plan": self.config.to_json(), "ledger": self.ledger.state()}
        return json.dumps(kept, sort_keys=True, separators=(",", ":"))

    def rewind(self, state: str) -> None:
        """Goes back to what :meth:`save` gave. Raises ``InvalidRequestError`` for a state of something else."""
        try:
            ledger = self._restorable(json.loads(state))
        except (CorruptStateError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise InvalidRequestError(f"this state cannot be restored: {error}", field="state") from error
        self._emit(Rewound(state=json.dumps(ledger.state(), sort_keys=True)))

    def _restorable(self, kept: Any) -> Ledger:
        """The ledger of a checkpoint, if it is one of this plan and accounts for every sample."""
        if kept["plan"] != self.config.to_json():
            raise ValueError(f"it is of another plan ({kept['plan']})")
        ledger = Ledger.restore(kept["ledger"], steps=self.config.steps)
        ahead = max(0, self.config.samples_of_epoch - ledger.next_step * self.config.plan.batch_size)
        there = ledger.finished + ledger.open_samples + ledger.returned_samples + ahead
        held = remaining(ledger, [np.empty(0, np.int64)] * self.config.steps)
        if there != self.config.samples_of_epoch or ledger.finished < 0 or ledger.next_turn < 1:
            raise ValueError(f"it accounts for {there} samples of {self.config.samples_of_epoch}")
        if len(held) and not (held[0] >= 0 and held[-1] < self.config.samples and (np.diff(held) > 0).all()):
            raise ValueError("it holds a sample twice, or one that the plan does not have")
        return ledger

    def plan_next(self, dealer: Dealer) -> Dealt | None:
        """How the most urgent thing that may be dealt is divided, if there is any; nothing changes."""
        due = self.ledger.due()
        nodes = {worker: member.node for worker, member in self.members.items()}
        return dealer.deal(due, self.ledger.next_turn, nodes, self.speeds) if due else None

    def deal(self, event: Dealt) -> None:
        """Deals out what :meth:`plan_next` has divided."""
        self._emit(event)

    # --- the fold ----------------------------------------------------------------------------------

    def apply(self, event: DataEvent) -> None:
        """Takes an event that was decided before. Raises ``CorruptStateError`` for one that cannot follow."""
        share = self._share(event) if isinstance(event, Finished) else None
        self.ledger.apply(event)
        if isinstance(event, Joined):
            self.members[event.worker] = Membership(
                incarnation=event.incarnation, rank=event.rank, node=event.group
            )
        elif isinstance(event, Left):
            self.members.pop(event.worker, None)
        elif isinstance(event, Finished) and share is not None:
            self._measure(event, share)

    def state(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "config": self.config.to_json(),
            "ledger": self.ledger.state(),
            "speeds": self.speeds.state(),
            "members": {worker: asdict(member) for worker, member in sorted(self.members.items())},
            "finished": dict(sorted(self.finished.items())),
            "imbalance": self.imbalance,
            "seconds": [[turn, seconds] for turn, seconds in sorted(self._seconds.items())],
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> DataJob:
        """The job whose :meth:`state` this was. Raises ``CorruptStateError``."""
        try:
            config = DataPlanConfig.from_json(state["config"])
            job = cls(config)
            job.ledger = Ledger.restore(
                state["ledger"], steps=config.steps, lookahead=config.lookahead, quorum=config.workers
            )
            job.speeds = SpeedTable.restore(state["speeds"])
            job.members = {worker: Membership(**kept) for worker, kept in state["members"].items()}
            job.finished = {str(worker): int(count) for worker, count in state["finished"].items()}
            job.imbalance = state["imbalance"]
            job._seconds = {int(turn): [float(s) for s in seconds] for turn, seconds in state["seconds"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptStateError(f"this is no state of a data plan: {error!r}") from error
        return job

    def _emit(self, event: DataEvent) -> None:
        self.apply(event)
        self._events.append(event)

    def _share(self, event: Finished) -> DealtShare | None:
        held = self.ledger.shares(event.worker, event.turn - 1)
        return replace(held[0]) if held and held[0].turn == event.turn else None

    def _measure(self, event: Finished, share: DealtShare) -> None:
        self.finished[event.worker] = self.finished.get(event.worker, 0) + len(share.indices)
        if event.seconds > 0.0:
            self.speeds.observe(event.worker, share.cost, event.seconds)
        seconds = self._seconds.setdefault(event.turn, [])
        seconds.append(event.seconds)
        if len(seconds) < share.workers:
            return
        del self._seconds[event.turn]
        # Turns that somebody left in the middle never get here; those before are of no use any more.
        self._seconds = {turn: kept for turn, kept in self._seconds.items() if turn > event.turn}
        mean = math.fsum(seconds) / len(seconds)
        if min(seconds) > 0.0:
            now = max(seconds) / mean
            before = now if self.imbalance is None else self.imbalance
            self.imbalance = before + IMBALANCE_RATE * (now - before)
