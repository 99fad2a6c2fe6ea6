"""The round machine: events in, decisions out; deterministic in (seed, events)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from chronos_common.clan.ancestry import ranked
from chronos_common.clan.closing import close, round_steps
from chronos_common.clan.events import (
    Adopted,
    Decision,
    Event,
    FitnessReported,
    MemberDied,
    MemberJoined,
    RoundPlan,
    RoundStarted,
)
from chronos_common.clan.genome import consensus, new_id
from chronos_common.clan.lineage import Birth
from chronos_common.clan.phases import Phase, round_phases
from chronos_common.clan.randomness import stream
from chronos_common.clan.state import ClanState
from chronos_common.errors import InvalidRequestError

_JOINING = 2


@dataclass(frozen=True, kw_only=True)
class Folded:
    """What an event leads to: the next state, and what is to be done, in order."""

    state: ClanState
    decisions: tuple[Decision, ...] = ()


def fold(state: ClanState, event: Event) -> Folded:
    """One event.

    What was said before changes nothing: a round that has begun, a fitness that was reported, a death that is known,
    anything about a round that has closed.

    Raises:
        InvalidRequestError: about a member that there is not, a round that is yet to come, or one that does not run.
    """
    return _FOLDS[type(event)](state, event)


def plan(state: ClanState) -> RoundPlan:
    """What the members do in the running round, or in the next."""
    steps = round_steps(state)
    phases = (
        (Phase(kind="fan_out", steps=steps),)
        if state.fanning
        else round_phases(state.config, steps, specialised=state.specialised)
    )
    genomes = tuple(seat.genome if seat.alive else None for seat in state.seats)
    agreed = consensus(tuple(genome for genome in genomes if genome is not None)) if state.living else {}
    return RoundPlan(
        round=state.round,
        first_step=state.step,
        schedule_start=state.step + steps if state.fanning else state.schedule_start,
        phases=phases,
        genomes=genomes,
        consensus=agreed,
    )


def _started(state: ClanState, event: RoundStarted) -> Folded:
    if state.finished:
        raise InvalidRequestError(f"the clan's training has ended with round {state.round}; no round follows")
    if event.round < state.round:
        return Folded(state=state)
    _require_round(state, event.round)
    if not state.living:
        raise InvalidRequestError("no member of the clan is alive; a round begins when one has joined")
    state = replace(state, running=True)
    return Folded(state=state, decisions=(plan(state),))


def _reported(state: ClanState, event: FitnessReported) -> Folded:
    seat = state.seats[_member(state, event.member)]
    if event.round < state.round or state.finished:
        return Folded(state=state)
    _require_round(state, event.round)
    if not state.running or not seat.alive:
        what = f"member {event.member} is dead" if not seat.alive else f"round {state.round} has not begun"
        raise InvalidRequestError(f"a fitness was reported, but {what}; join, and start the round first")
    if seat.reported is not None:
        return Folded(state=state)
    loss = float(event.fitness) if math.isfinite(event.fitness) else math.inf
    return _closed_if_complete(_seated(state, event.member, reported=loss))


def _died(state: ClanState, event: MemberDied) -> Folded:
    if not state.seats[_member(state, event.member)].alive:
        return Folded(state=state)
    return _closed_if_complete(_seated(state, event.member, alive=False, reported=None))


def _joined(state: ClanState, event: MemberJoined) -> Folded:
    if state.seats[_member(state, event.member)].alive:
        return Folded(state=state)
    living = state.living
    if not living:
        return Folded(state=_seated(state, event.member, alive=True))
    population = [state.seats[member].genome for member in living]
    source = living[ranked(population)[0]]
    parent = state.seats[source].genome
    draw = stream(state.seed, _JOINING, state.joins)
    child = parent.child(parent.alleles, genome_id=new_id(draw), born=state.round)
    state = replace(
        _seated(state, event.member, alive=True, genome=child, reported=None),
        births=(*state.births, Birth.of(child, event.member)),
        joins=state.joins + 1,
    )
    return Folded(state=state, decisions=(Adopted(target=event.member, source=source),))


def _closed_if_complete(state: ClanState) -> Folded:
    living = state.living
    if not state.running or not living or any(state.seats[member].reported is None for member in living):
        return Folded(state=state)
    closed, decision = close(state)
    return Folded(state=closed, decisions=(decision,))


def _seated(state: ClanState, member: int, **changes: Any) -> ClanState:
    seats = list(state.seats)
    seats[member] = replace(seats[member], **changes)
    return replace(state, seats=tuple(seats))


def _member(state: ClanState, member: int) -> int:
    if not 0 <= member < len(state.seats):
        raise InvalidRequestError(f"there is no member {member}; the clan has {len(state.seats)}, from 0")
    return member


def _require_round(state: ClanState, number: int) -> None:
    if number != state.round:
        raise InvalidRequestError(f"round {number} is yet to come; the clan is at round {state.round}")


_FOLDS: Mapping[type[Any], Callable[[ClanState, Any], Folded]] = MappingProxyType(
    {RoundStarted: _started, FitnessReported: _reported, MemberDied: _died, MemberJoined: _joined}
)
