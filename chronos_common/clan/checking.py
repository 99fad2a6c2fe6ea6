"""Decides again what a clan's journal says, and compares: the same seed and events must give the same decisions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chronos_common.clan.events import (
    Adopted,
    FitnessReported,
    MemberDied,
    MemberJoined,
    RoundClosed,
    RoundStarted,
)
from chronos_common.clan.job import ClanJob
from chronos_common.clan.machine import Folded, fold
from chronos_common.clan.records import (
    ABSENT,
    Begun,
    Ended,
    Record,
    Reported,
    Rewound,
    Seated,
    Vacated,
    digest,
)
from chronos_common.clan.state import ClanState
from chronos_common.errors import ChronosError


@dataclass(frozen=True, kw_only=True)
class ClanReport:
    """What a replay found.

    Attributes:
        clean: whether everything agreed.
        rounds: closed rounds that were decided again.
        entries: replayed.
        problem: the first disagreement; empty when ``clean``.
        from_entry: the snapshot that the replay began at; 0 when it began at the journal's first entry.
        digest: of the clan at the end.
    """

    clean: bool
    rounds: int
    entries: int
    problem: str = ""
    from_entry: int = 0
    digest: str = ""


class Checker:
    """A replay that decides everything a second time.

    Args:
        job: where the journal begins, or its snapshot.
    """

    def __init__(self, job: ClanJob) -> None:
        self.job = job
        self.rounds = 0
        self._due: Folded | None = None

    def take(self, record: Record) -> str:
        """One record; what disagrees, or nothing."""
        before, due = self.job.clan, self._due
        if (due is not None) != isinstance(record, Ended):
            return f"round {before.round} closed when its reports do not say so, or did not when they do"
        misplaced = _misplaced(self.job, record)
        if misplaced:
            return f"a {type(record).__name__.lower()!r} in round {before.round} cannot be: {misplaced}"
        try:
            folded = due or _decided(before, record)
            adopted = tuple((one.source, True) for one in folded.decisions if isinstance(one, Adopted))
            if isinstance(record, Seated) and adopted != _taken_over(record):
                return f"member {record.member} took over from another one than it should in round {before.round}"
            self.job.apply(record)
        except ChronosError as error:
            return str(error)
        if isinstance(record, Ended):
            self.rounds, self._due = self.rounds + 1, None
            if folded.decisions != (record.decision,):
                return f"round {before.round} was decided otherwise than its reports lead to"
        elif any(isinstance(decision, RoundClosed) for decision in folded.decisions):
            self._due = folded
            return ""
        # Equality leaves out what genomes reached, and digests of the whole tree would cost its length every time.
        same = folded.state == self.job.clan and _seats(folded.state) == _seats(self.job.clan)
        kind = type(record).__name__.lower()
        return "" if same else f"after {kind!r} in round {before.round} the clan is another than it should be"

    def finish(self) -> str:
        """What is missing at the journal's end, or nothing."""
        return (
            "" if self._due is None else f"the journal ends before the close of round {self.job.clan.round}"
        )


def _misplaced(job: ClanJob, record: Record) -> str:
    """Why nobody can have asked for a record, or nothing."""
    clan = job.clan
    if isinstance(record, Begun):
        empty = [member for member in clan.living if member not in job.occupants]
        dated = record.deadline is not None
        if clan.running or empty or dated != (job.definition.round_seconds > 0.0):
            return "it runs, members are missing, or its deadline is not as the definition says"
    elif isinstance(record, Rewound):
        if record.state != job.rested(record.state):
            return "this is not the beginning of a round with those who have a place"
    elif not isinstance(record, Ended):
        return _misseated(job, record)
    return ""


def _misseated(job: ClanJob, record: Seated | Vacated | Reported) -> str:
    member, seats = record.member, job.clan.seats
    if member not in range(len(seats)):
        return f"there is no member {member}"
    if isinstance(record, Seated):
        taken = member in job.occupants or job.place_of(record.worker) is not None
        return f"member {member} or worker {record.worker!r} has a place already" if taken else ""
    absent = isinstance(record, Vacated) and record.reason == ABSENT
    if not absent and member not in job.occupants:
        return f"nobody has the place of member {member}"
    if isinstance(record, Vacated):
        awaited = job.founding and not absent
        return f"whether member {member} is awaited is told wrongly" if record.dead == awaited else ""
    return "" if seats[member].reported is None else f"member {member} has reported already"


def _taken_over(record: Seated) -> tuple[tuple[int | None, bool], ...]:
    nothing = record.source is None and record.genome is None
    return () if nothing else ((record.source, record.genome is not None),)


def _decided(before: ClanState, record: Record) -> Folded:
    if isinstance(record, Seated):
        return fold(before, MemberJoined(member=record.member))
    if isinstance(record, Vacated) and record.dead:
        return fold(before, MemberDied(member=record.member))
    if isinstance(record, Begun):
        return fold(before, RoundStarted(round=record.round))
    if isinstance(record, Reported):
        return fold(before, FitnessReported(round=record.round, member=record.member, fitness=record.fitness))
    return Folded(state=record.state if isinstance(record, Rewound) else before)


def _seats(state: ClanState) -> str:
    return digest(replace(state, births=()))
