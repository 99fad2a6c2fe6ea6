"""A clan between two events, as plain immutable data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chronos_common.clan.alleles import Allele, ContinuousAllele
from chronos_common.clan.config import ClanConfig, config_from_json
from chronos_common.clan.genome import Genome, genome_from_json, new_id, whole
from chronos_common.clan.lineage import Birth
from chronos_common.clan.randomness import stream
from chronos_common.errors import ConfigurationError, CorruptStateError

REVISION = 1


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A member's place.

    Attributes:
        genome: of who sits there, or sat there last; its fitness is that of the last round that closed.
        alive: whether anyone sits there.
        reported: validation loss of the running round, if it was reported; NaN is kept as infinity.
    """

    genome: Genome
    alive: bool = True
    reported: float | None = None


@dataclass(frozen=True, kw_only=True)
class ClanState:
    """Everything that decides.

    Attributes:
        config: the algorithm.
        seed: of all randomness.
        round: the running round, or the next.
        step: of the training at which it begins.
        running: whether it has begun.
        finished: nothing follows.
        fan_outs: how many have ended; the running round is one while ``fanning``.
        fanning: the running round is a fan-out.
        schedule_start: step that the schedule counts from.
        births: the family tree, in order.
        joins: how many members have joined so far.
        seats: by member.
    """

    config: ClanConfig
    seed: int
    seats: tuple[Seat, ...]
    round: int = 0
    step: int = 0
    running: bool = False
    finished: bool = False
    fan_outs: int = 0
    fanning: bool = False
    schedule_start: int = 0
    births: tuple[Birth, ...] = ()
    joins: int = 0

    @property
    def living(self) -> tuple[int, ...]:
        """Members whose seats are taken."""
        return tuple(member for member, seat in enumerate(self.seats) if seat.alive)

    @property
    def specialised(self) -> bool:
        """Whether a specialised gene is declared."""
        return any(allele.specialised for allele in self.seats[0].genome.alleles.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values for :func:`state_from_json`."""
        return {
            "revision": REVISION,
            "config": self.config.to_json(),
            "seats": [_seat_to_json(seat) for seat in self.seats],
            "births": [birth.to_json() for birth in self.births],
            **{name: getattr(self, name) for name in (*_COUNTS, *_SWITCHES)},
        }


_COUNTS = ("seed", "round", "step", "fan_outs", "schedule_start", "joins")
_SWITCHES = ("running", "finished", "fanning")


def state_from_json(parts: Mapping[str, Any]) -> ClanState:
    """Inverse of :meth:`ClanState.to_json`.

    Raises:
        CorruptStateError: malformed, or of a revision that this release does not read.
    """
    given: Any = parts
    revision = given.get("revision") if isinstance(given, Mapping) else None
    if revision != REVISION:
        raise CorruptStateError(f"the stored clan is of revision {revision!r}, this release reads {REVISION}")
    try:
        plain: dict[str, Any] = {name: whole(parts[name]) for name in _COUNTS}
        plain |= {name: _switch(parts[name]) for name in _SWITCHES}
        state = ClanState(
            config=config_from_json(parts["config"]),
            seats=tuple(_seat_from_json(seat) for seat in parts["seats"]),
            births=tuple(Birth.from_json(birth) for birth in parts["births"]),
            **plain,
        )
    except (AttributeError, ConfigurationError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise CorruptStateError(f"the stored clan is malformed: {error!r}") from error
    if len(state.seats) != state.config.population_size:
        raise CorruptStateError(
            f"the stored clan has {len(state.seats)} places for {state.config.population_size} members"
        )
    return state


def found(config: ClanConfig, alleles: Mapping[str, Allele], seed: int) -> ClanState:
    """A clan before its first round: every member has these alleles, or the fan-out's variants of them.

    Raises:
        ConfigurationError: the fan-out or a schedule needs a gene that is not declared, or a continuous one.
    """
    scheduled = config.fan_out.enabled or config.schedule.kind != "constant"
    if scheduled and not isinstance(alleles.get(config.rate_gene), ContinuousAllele):
        raise ConfigurationError(
            f"fan-out and schedule act on the gene {config.rate_gene!r}, which is not among the continuous genes "
            f"({', '.join(sorted(alleles)) or 'none'}); declare it, name another rate_gene, or switch both off"
        )
    seats = tuple(
        Seat(genome=Genome(genome_id=new_id(stream(seed, 0, member)), alleles=alleles))
        for member in range(config.population_size)
    )
    fanning = config.fan_out.enabled and config.population_size > 1
    state = ClanState(config=config, seed=seed, seats=seats, fanning=fanning)
    state = spread(state, alleles) if fanning else state
    return replace(state, births=tuple(Birth.of(seat.genome, slot) for slot, seat in enumerate(state.seats)))


def spread(state: ClanState, alleles: Mapping[str, Allele]) -> ClanState:
    """The living with the alleles given, but for the rate: a range around it, the lowest member's the lowest."""
    gene, decades = state.config.rate_gene, state.config.fan_out.decades
    centre, living, seats = alleles[gene], state.living, list(state.seats)
    assert isinstance(centre, ContinuousAllele)  # noqa: S101 - `found` has refused everything else
    for place, member in enumerate(living):
        exponent = decades * (2.0 * place / max(len(living) - 1, 1) - 1.0)
        rate = centre.holding(centre.value * math.pow(10.0, exponent))
        seat = seats[member]
        seats[member] = replace(seat, genome=replace(seat.genome, alleles={**alleles, gene: rate}))
    return replace(state, seats=tuple(seats))


def _seat_to_json(seat: Seat) -> dict[str, Any]:
    reported = seat.reported if seat.reported is None or math.isfinite(seat.reported) else "infinite"
    return {"genome": seat.genome.to_json(), "alive": seat.alive, "reported": reported}


def _seat_from_json(parts: Mapping[str, Any]) -> Seat:
    told = parts["reported"]
    reported = math.inf if told == "infinite" else None if told is None else float(told)
    return Seat(genome=genome_from_json(parts["genome"]), alive=_switch(parts["alive"]), reported=reported)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value
