"""Who sits at which place of a clan, and which one a newcomer gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chronos_common.clan.state import ClanState
from chronos_common.errors import ClanFullError, InvalidRequestError, SeatTakenError


@dataclass(frozen=True, kw_only=True)
class Occupant:
    """A process at its place.

    Attributes:
        worker: who.
        incarnation: which process of it.
        address: where other members reach it; empty where they need not.
        source: member whose weights it took over when it came; ``None`` for one who brought its own.
        since: epoch of the membership that began with it.
    """

    worker: str
    incarnation: int
    address: str = ""
    source: int | None = None
    since: int = 0


def chosen_place(
    clan: ClanState, occupants: Mapping[int, Occupant], worker: str, wanted: int | None, former: int | None
) -> int:
    """The place that a worker gets.

    Raises:
        SeatTakenError: somebody else sits where it wants to.
        ClanFullError: no place is free.
        InvalidRequestError: there is no such place.
    """
    size = len(clan.seats)
    if wanted is not None:
        if not 0 <= wanted < size:
            raise InvalidRequestError(
                f"there is no member {wanted}; the clan has {size}, from 0", field="member"
            )
        one = occupants.get(wanted)
        if one is not None and one.worker != worker:
            raise SeatTakenError(
                f"member {wanted} is worker {one.worker!r}, which is alive; give every worker a place of its own, "
                "or leave it out",
                member=wanted,
                worker_id=one.worker,
            )
        return wanted
    if former is not None:
        return former
    free = [place for place in range(size) if place not in occupants]
    if not free:
        raise ClanFullError(
            f"all {size} places of the clan are taken; start fewer workers, or wait until one is gone",
            members=size,
        )
    # Places that are still expected to train come first: theirs are founding genomes.
    return min(free, key=lambda place: (not clan.seats[place].alive, place))
