"""A clan as clients see it."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_common.clan.definition import ClanDefinition
from chronos_common.clan.events import RoundPlan
from chronos_common.clan.genome import Genome
from chronos_common.clan.job import ClanJob


@dataclass(frozen=True, kw_only=True)
class MemberView:
    """A place: who sits there (``""``: nobody), whether anything is expected of it, and what it trains with.

    ``reported`` is its fitness of the running round, ``None`` before the report.
    """

    member: int
    worker_id: str
    incarnation: int
    address: str
    alive: bool
    genome: Genome
    reported: float | None


@dataclass(frozen=True, kw_only=True)
class ClanView:
    """How a clan stands; ``round`` is the running round or the next one, ``step`` the one at which it begins."""

    clan_id: str
    definition: ClanDefinition
    round: int
    step: int
    running: bool
    finished: bool
    epoch: int
    members: tuple[MemberView, ...]

    @property
    def best(self) -> float | None:
        """The least fitness of the last round that closed among the living, ``None`` before the first."""
        found = [one.genome.fitness for one in self.members if one.alive and one.genome.fitness is not None]
        return min(found, default=None)


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a worker is told that joins: its place, whose weights it takes over (or ``None``), and how all stands."""

    member: int
    source: int | None
    view: ClanView


@dataclass(frozen=True, kw_only=True)
class FetchedRound:
    """The plan of a round, the epoch of the membership, and whether the training is over."""

    plan: RoundPlan
    epoch: int
    finished: bool


def clan_view(clan_id: str, job: ClanJob) -> ClanView:
    """Puts a view together."""
    clan = job.clan
    members = []
    for place, seat in enumerate(clan.seats):
        one = job.occupants.get(place)
        members.append(
            MemberView(
                member=place,
                worker_id="" if one is None else one.worker,
                incarnation=0 if one is None else one.incarnation,
                address="" if one is None else one.address,
                alive=seat.alive,
                genome=seat.genome,
                reported=seat.reported,
            )
        )
    return ClanView(
        clan_id=clan_id,
        definition=job.definition,
        round=clan.round,
        step=clan.step,
        running=clan.running,
        finished=clan.finished,
        epoch=job.epoch,
        members=tuple(members),
    )
