"""Decides again what a clan's journal says, and compares: the same seed and events must give the same decisions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chronos_common.clan.events import FitnessReported, MemberDied, MemberJoined, RoundClosed, RoundStarted
from chronos_common.clan.job import ClanJob
from chronos_common.clan.machine import Folded, fold
from chronos_common.clan.records import Begun, Ended, Record, Reported, Rewound, Seated, Vacated, digest
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
        try:
            folded = due or _decided(before, record)
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
