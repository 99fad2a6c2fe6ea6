"""What is kept of rounds that have closed, to be shown: genes, fitness, who descends from whom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from chronos_common.clan.closing import round_steps
from chronos_common.clan.events import RoundClosed
from chronos_common.clan.members import Occupant
from chronos_common.clan.records import Ended, decision_from_json
from chronos_common.clan.state import ClanState

KEPT_MEMBERS: Final = 20_000
"""Members times rounds that are kept: some MB of a coordinator's memory and snapshots."""


@dataclass(frozen=True, kw_only=True)
class MemberRecord:
    """A member in a round.

    Attributes:
        member: its place.
        worker: who sat there at the end.
        genome_id: what it trained with.
        parents: from whom that was bred.
        born: in which round.
        fitness: validation loss, less is better; infinity where it was not finite.
        genes: what the genes were set to, by name.
    """

    member: int
    worker: str
    genome_id: str
    parents: tuple[str, ...]
    born: int
    fitness: float
    genes: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """A round that has closed.

    Attributes:
        number: of the round.
        first_step: of the training, at which it began.
        steps: how many it had.
        fan_out: whether it was one.
        decision: what became of the members.
        members: the living, by place.
    """

    number: int
    first_step: int
    steps: int
    fan_out: bool
    decision: RoundClosed
    members: tuple[MemberRecord, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for :meth:`from_json`."""
        parts = asdict(self)
        for member in parts["members"]:
            member["fitness"] = member["fitness"] if math.isfinite(member["fitness"]) else None
        return parts

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> RoundRecord:
        """Inverse of :meth:`to_json`."""
        members = tuple(
            MemberRecord(
                **{
                    **member,
                    "parents": tuple(member["parents"]),
                    "fitness": math.inf if member["fitness"] is None else member["fitness"],
                }
            )
            for member in parts["members"]
        )
        return cls(**{**parts, "decision": decision_from_json(parts["decision"]), "members": members})


def round_record(before: ClanState, occupants: Mapping[int, Occupant], ended: Ended) -> RoundRecord:
    """What is kept of a round; ``before`` is the clan as it closed, with all reports."""
    return RoundRecord(
        number=before.round,
        first_step=before.step,
        steps=round_steps(before),
        fan_out=before.fanning,
        decision=ended.decision,
        members=tuple(
            MemberRecord(
                member=place,
                worker=occupants[place].worker if place in occupants else "",
                genome_id=seat.genome.genome_id,
                parents=seat.genome.parents,
                born=seat.genome.born,
                fitness=math.inf if seat.reported is None else seat.reported,
                genes=seat.genome.values(),
            )
            for place, seat in enumerate(before.seats)
            if seat.alive
        ),
    )


def kept_rounds(population: int) -> int:
    """How many rounds are kept of a population."""
    return max(16, KEPT_MEMBERS // population)
