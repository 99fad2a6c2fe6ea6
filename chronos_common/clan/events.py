"""What happens to a clan, and what it decides: plain, immutable, JSON-able."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from chronos_common.clan.genome import Genome
from chronos_common.clan.phases import Phase
from chronos_common.errors import CorruptStateError


@dataclass(frozen=True, kw_only=True)
class RoundStarted:
    """The members begin a round; asked again, the answer is the same."""

    round: int


@dataclass(frozen=True, kw_only=True)
class FitnessReported:
    """A member has ended its round with this validation loss; what is not finite is the worst."""

    round: int
    member: int
    fitness: float


@dataclass(frozen=True, kw_only=True)
class MemberDied:
    """Nothing more is expected of a member."""

    member: int


@dataclass(frozen=True, kw_only=True)
class MemberJoined:
    """An empty place is taken."""

    member: int


Event = RoundStarted | FitnessReported | MemberDied | MemberJoined

EVENTS: Mapping[str, type[Any]] = MappingProxyType(
    {kind.__name__: kind for kind in (RoundStarted, FitnessReported, MemberDied, MemberJoined)}
)


def event_to_json(event: Event) -> dict[str, Any]:
    """Plain values; a fitness that is not finite becomes ``None``."""
    parts = {"kind": type(event).__name__, **asdict(event)}
    fitness = parts.get("fitness")
    if fitness is not None and not abs(fitness) < float("inf"):
        parts["fitness"] = None
    return parts


def event_from_json(parts: Mapping[str, Any]) -> Event:
    """Inverse of :func:`event_to_json`, up to the kind of a fitness that was not finite.

    Raises:
        CorruptStateError: malformed.
    """
    try:
        settings = {key: value for key, value in parts.items() if key != "kind"}
        if "fitness" in settings and settings["fitness"] is None:
            settings["fitness"] = float("inf")
        event: Event = EVENTS[parts["kind"]](**settings)
    except (KeyError, TypeError) as error:
        raise CorruptStateError(f"a stored clan event is malformed: {error!r}") from error
    return event


@dataclass(frozen=True, kw_only=True)
class RoundPlan:
    """What the members do in a round.

    Attributes:
        round: its number.
        first_step: of the training, from 0.
        schedule_start: step that the schedule counts from.
        phases: in order.
        genomes: by member; ``None`` for the dead.
        consensus: what specialised genes are set to while gradients are shared, by gene.
    """

    round: int
    first_step: int
    schedule_start: int
    phases: tuple[Phase, ...]
    genomes: tuple[Genome | None, ...]
    consensus: Mapping[str, Any]

    @property
    def steps(self) -> int:
        """Of the round."""
        return sum(phase.steps for phase in self.phases)

    @property
    def living(self) -> tuple[int, ...]:
        """Who takes part."""
        return tuple(member for member, genome in enumerate(self.genomes) if genome is not None)

    def phase_at(self, step: int) -> Phase:
        """The phase of a step, counted from the round's first; past its end the last."""
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        return self.phases[-1]

    def averages_at(self, step: int, every: int) -> bool:
        """Whether members that share weights every so many steps (not gradients: 1) do so at the end of a step."""
        if every == 1 or not self.phase_at(step).shares_gradients:
            return False
        made = step + 1
        last = made == self.steps or not self.phase_at(made).shares_gradients
        return last or made % every == 0


@dataclass(frozen=True, kw_only=True)
class Move:
    """``target`` takes the weights and the optimiser's state of ``source`` as they were at the end of the round."""

    target: int
    source: int


@dataclass(frozen=True, kw_only=True)
class RoundClosed:
    """What becomes of the members after a round: moves first, then the restart or the soup.

    Attributes:
        round: that ended.
        ranking: the living, best first.
        moves: all taken from the state at the end of the round.
        restart: all return to the weights and the optimiser's state that the round began with.
        soup: members whose mean weights (before the moves) all the living take; empty for none.
        finished: this was the last round; the best member is ``ranking[0]``.
    """

    round: int
    ranking: tuple[int, ...]
    moves: tuple[Move, ...] = ()
    restart: bool = False
    soup: tuple[int, ...] = ()
    finished: bool = False


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """A joiner takes over the weights and the optimiser's state of a living member, at once."""

    target: int
    source: int


Decision = RoundPlan | RoundClosed | Adopted
