"""A clan as a coordinator keeps it: who sits where, and the round machine; a fold over the clan's records."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from chronos_common.clan.definition import ClanDefinition, definition_from_json
from chronos_common.clan.events import (
    Adopted,
    Decision,
    FitnessReported,
    MemberDied,
    MemberJoined,
    RoundClosed,
    RoundPlan,
    RoundStarted,
)
from chronos_common.clan.history import RoundRecord, kept_rounds, round_record
from chronos_common.clan.lineage import Birth
from chronos_common.clan.machine import fold, plan
from chronos_common.clan.members import Occupant, chosen_place
from chronos_common.clan.records import (
    ABSENT,
    LATE,
    LEFT,
    SUPERSEDED,
    UNREACHABLE,
    Begun,
    Ended,
    Record,
    Reported,
    Rewound,
    Seated,
    Vacated,
)
from chronos_common.clan.state import ClanState, Seat, state_from_json
from chronos_common.errors import (
    CorruptStateError,
    GenomeMismatchError,
    InvalidRequestError,
    RoundMismatchError,
    WorkerNotMemberError,
)

UNREAD: Final = (AttributeError, KeyError, TypeError, ValueError)
T = TypeVar("T")


class ClanJob:
    """Decides what happens to one clan; what it emits must become durable before anybody hears of it.

    Args:
        definition: of the clan.
    """

    def __init__(self, definition: ClanDefinition) -> None:
        self.definition = definition
        self.clan: ClanState = definition.found()
        self.occupants: dict[int, Occupant] = {}
        self.deadline: float | None = None
        """Of the running round, unix seconds."""
        self.gathering_since: float | None = None
        """Unix seconds of the first join, until the training begins."""
        self.epoch = 0
        """Changes of the membership so far: groups of peers are built anew with each."""
        self.history: deque[RoundRecord] = deque(maxlen=kept_rounds(definition.config.population_size))
        self._records: list[Record] = []

    def take_records(self) -> list[Record]:
        """What was decided since this was last asked."""
        records, self._records = self._records, []
        return records

    # --- what there is -----------------------------------------------------------------------------

    @property
    def founding(self) -> bool:
        """Whether the training has yet to begin: places are free then without anybody having died."""
        return self.clan.round == 0 and not self.clan.running and not self.clan.finished

    def place_of(self, worker: str) -> int | None:
        """Where a worker sits."""
        return next((place for place, one in self.occupants.items() if one.worker == worker), None)

    def require_member(self, worker: str, incarnation: int) -> int:
        """The place of a process.

        Raises:
            WorkerNotMemberError: it takes no part, any more.
        """
        place = self.place_of(worker)
        if place is None or self.occupants[place].incarnation != incarnation:
            raise WorkerNotMemberError(
                f"worker {worker!r} takes no part in this clan; join again, and take over the weights of the "
                "member that the answer names",
                worker_id=worker,
            )
        return place

    # --- commands ----------------------------------------------------------------------------------

    def join(
        self,
        worker: str,
        incarnation: int,
        *,
        now: float,
        member: int | None = None,
        address: str = "",
    ) -> int:
        """Gives a process a place, the one it asks for or the first that is free; one that has a place keeps it.

        Raises:
            SeatTakenError: somebody else sits there.
            ClanFullError: no place is free.
        """
        former = self.place_of(worker)
        place = chosen_place(self.clan, self.occupants, worker, member, former)
        if former is not None:
            superseded = self.occupants[former].incarnation != incarnation
            if not superseded and place == former:
                return place
            self._vacate(former, SUPERSEDED if superseded else LEFT)
        record = Seated(member=place, worker=worker, incarnation=incarnation, address=address, time=now)
        if not self.clan.seats[place].alive:
            folded = fold(self.clan, MemberJoined(member=place))
            adopted = _first(folded.decisions, Adopted)
            if adopted is not None:
                genome = folded.state.seats[place].genome
                record = replace(record, source=adopted.source, genome=genome)
        self._emit(record)
        return place

    def leave(self, worker: str, incarnation: int, reason: str = LEFT) -> None:
        """Ends a process's membership, if there is one."""
        place = self.place_of(worker)
        if place is not None and self.occupants[place].incarnation == incarnation:
            self._vacate(place, reason)

    def remove(self, worker: str, incarnation: int, *, member: int, epoch: int) -> int:
        """Ends the membership of who sat at a place in an epoch, on the word of another member; the epoch now.

        Raises:
            WorkerNotMemberError: who asks takes no part, any more: it may have been removed itself.
            InvalidRequestError: it is who asks, or there is no such place.
        """
        place = self.require_member(worker, incarnation)
        if place == member or not 0 <= member < len(self.clan.seats):
            raise InvalidRequestError(
                f"member {member} cannot be removed by member {place}; name another one of 0 to "
                f"{len(self.clan.seats) - 1}, or leave",
                field="member",
            )
        one = self.occupants.get(member)
        if one is not None and one.since <= epoch:
            self._vacate(member, UNREACHABLE)
        return self.epoch

    def begin(self, worker: str, incarnation: int, *, now: float) -> RoundPlan | None:
        """The plan of the running round, or of the one that begins now; ``None`` while members are awaited.

        When the clan has finished, the plan of its last round.
        """
        self.require_member(worker, incarnation)
        if not self.clan.running and not self.clan.finished:
            if any(member not in self.occupants for member in self.clan.living):
                return None
            fold(self.clan, RoundStarted(round=self.clan.round))
            wait = self.definition.round_seconds
            self._emit(Begun(round=self.clan.round, deadline=now + wait if wait else None))
        return plan(self.clan)

    def report(
        self, worker: str, incarnation: int, *, number: int, fitness: float, genome_id: str = ""
    ) -> None:
        """Takes a member's fitness of a round; the first one counts. NaN and infinities are the worst.

        Raises:
            WorkerNotMemberError: it takes no part.
            RoundMismatchError: a round that has not begun.
            GenomeMismatchError: the fitness was measured with another genome than the member's.
        """
        place = self.require_member(worker, incarnation)
        clan = self.clan
        if number < clan.round or (number == clan.round and clan.finished):
            return
        if number > clan.round or not clan.running:
            raise RoundMismatchError(
                f"round {number} has not begun; the clan is at round {clan.round}: fetch the round first",
                round=clan.round,
            )
        genome = clan.seats[place].genome
        if genome_id and genome_id != genome.genome_id:
            raise GenomeMismatchError(
                f"the fitness was measured with genome {genome_id}, but member {place} has {genome.genome_id} in round "
                f"{number}; fetch the round again and train with its genome",
                genome_id=genome.genome_id,
            )
        fitness = fitness if math.isfinite(fitness) else math.inf
        folded = fold(clan, FitnessReported(round=number, member=place, fitness=fitness))
        if clan.seats[place].reported is not None:
            return
        self._emit(Reported(round=number, member=place, fitness=fitness))
        self._ended(folded.state, folded.decisions)

    def closed(self, number: int) -> RoundClosed | None:
        """The decision that ended a round; ``None`` while it runs.

        Raises:
            RoundMismatchError: a round that has not begun, or one so long ago that it is not kept.
        """
        found = next((record.decision for record in reversed(self.history) if record.number == number), None)
        if found is not None:
            return found
        if number == self.clan.round and self.clan.running:
            return None
        raise RoundMismatchError(
            f"round {number} cannot be closed; the clan is at round {self.clan.round}, and "
            f"{len(self.history)} rounds before it are kept",
            round=self.clan.round,
        )

    def overdue(self, now: float) -> bool:
        """Goes on without those who have let a deadline pass; whether anybody has."""
        if self.founding:
            wait, since = self.definition.gather_seconds, self.gathering_since
            if not wait or since is None or now < since + wait or not self.occupants:
                return False
            late = [place for place in self.clan.living if place not in self.occupants]
            reason = ABSENT
        else:
            if not self.clan.running or self.deadline is None or now < self.deadline:
                return False
            seats = self.clan.seats
            late = [place for place in self.clan.living if seats[place].reported is None]
            if len(late) == len(self.clan.living):
                return False
            reason = LATE
        for place in late:
            self._vacate(place, reason)
        return bool(late)

    def rewind(self, parts: Mapping[str, Any]) -> None:
        """Goes back to a checkpoint's state; to the beginning of the round that runs, nothing changes.

        Raises:
            InvalidRequestError: a state of something else.
        """
        try:
            state = state_from_json(parts)
        except CorruptStateError as error:
            raise InvalidRequestError(f"this state cannot be restored: {error}", field="state") from error
        if state.config != self.clan.config or state.seed != self.clan.seed:
            raise InvalidRequestError(
                "this state is of a clan with another algorithm or seed; restore it into a clan of its own",
                field="state",
            )
        if not all(self.definition.fits(seat.genome) for seat in state.seats):
            raise InvalidRequestError(
                "this state is of a clan with other genes or domains; restore it into a clan of its own",
                field="state",
            )
        state = self.rested(state)
        if state.to_json() != self.rested(self.clan).to_json():
            self._emit(Rewound(state=state))

    # --- the fold ----------------------------------------------------------------------------------

    def apply(self, record: Record) -> None:
        """Takes a record that was decided before.

        Raises:
            CorruptStateError: one that cannot follow.
        """
        try:
            self._apply(record)
        except (IndexError, *UNREAD) as error:
            raise CorruptStateError(
                f"a clan's {record!r} cannot follow on what was before: {error!r}"
            ) from error

    def state(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "definition": self.definition.to_json(),
            "clan": self.clan.to_json(),
            "occupants": {str(place): vars(one) for place, one in sorted(self.occupants.items())},
            "deadline": self.deadline,
            "gathering_since": self.gathering_since,
            "epoch": self.epoch,
            "history": [record.to_json() for record in self.history],
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> ClanJob:
        """The job whose :meth:`state` this was. Raises ``CorruptStateError``."""
        try:
            job = cls(definition_from_json(state["definition"]))
            job.clan = state_from_json(state["clan"])
            job.occupants = {int(place): Occupant(**one) for place, one in state["occupants"].items()}
            job.deadline, job.gathering_since = state["deadline"], state["gathering_since"]
            job.epoch = int(state["epoch"])
            job.history.extend(RoundRecord.from_json(record) for record in state["history"])
        except UNREAD as error:
            raise CorruptStateError(f"this is no state of a clan: {error!r}") from error
        return job

    # --- parts -------------------------------------------------------------------------------------

    def _apply(self, record: Record) -> None:
        if isinstance(record, Seated):
            self._sit(record)
        elif isinstance(record, Vacated):
            self.occupants.pop(record.member, None)
            self.epoch += 1
            if record.dead:
                self._reseat(record.member, alive=False, reported=None)
        elif isinstance(record, Begun):
            self.clan = replace(self.clan, running=True)
            self.deadline = record.deadline
        elif isinstance(record, Reported):
            self._reseat(record.member, reported=record.fitness)
        elif isinstance(record, Ended):
            self.history.append(round_record(self.clan, self.occupants, record))
            self.clan = replace(record.after, births=(*self.clan.births, *record.after.births))
            self.deadline = None
        else:
            self.clan, self.deadline = record.state, None
            kept = [one for one in self.history if one.number < record.state.round]
            self.history = deque(kept, maxlen=self.history.maxlen)

    def _sit(self, record: Seated) -> None:
        if self.gathering_since is None:
            self.gathering_since = record.time
        self.occupants[record.member] = Occupant(
            worker=record.worker,
            incarnation=record.incarnation,
            address=record.address,
            source=record.source,
            since=self.epoch + 1,
        )
        self.epoch += 1
        if record.genome is None:
            self._reseat(record.member, alive=True)
            return
        self._reseat(record.member, alive=True, genome=record.genome, reported=None)
        births = (*self.clan.births, Birth.of(record.genome, record.member))
        self.clan = replace(self.clan, births=births, joins=self.clan.joins + 1)

    def _vacate(self, place: int, reason: str) -> None:
        if self.founding and reason != ABSENT:
            self._emit(Vacated(member=place, reason=reason, dead=False))
            return
        folded = fold(self.clan, MemberDied(member=place))
        self._emit(Vacated(member=place, reason=reason))
        self._ended(folded.state, folded.decisions)

    def _ended(self, after: ClanState, decisions: tuple[Decision, ...]) -> None:
        decision = _first(decisions, RoundClosed)
        if decision is not None:
            after = replace(after, births=after.births[len(self.clan.births) :])
            self._emit(Ended(decision=decision, after=after))

    def rested(self, state: ClanState) -> ClanState:
        """A state at the beginning of its round, with those alive who have a place now."""
        founding = state.round == 0
        seats = tuple(
            Seat(genome=seat.genome, alive=place in self.occupants or (founding and seat.alive))
            for place, seat in enumerate(state.seats)
        )
        return replace(state, seats=seats, running=False)

    def _reseat(self, place: int, **changes: Any) -> None:
        seats = list(self.clan.seats)
        seats[place] = replace(seats[place], **changes)
        self.clan = replace(self.clan, seats=tuple(seats))

    def _emit(self, record: Record) -> None:
        self.apply(record)
        self._records.append(record)


def _first(decisions: tuple[Decision, ...], kind: type[T]) -> T | None:
    return next((decision for decision in decisions if isinstance(decision, kind)), None)
