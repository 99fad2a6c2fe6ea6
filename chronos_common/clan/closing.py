"""The end of a round: who is replaced by whose child, and what all take over."""

from __future__ import annotations

import math
from dataclasses import replace

from chronos_common.clan.ancestry import ranked
from chronos_common.clan.events import Move, RoundClosed
from chronos_common.clan.genome import Genome, new_id
from chronos_common.clan.lineage import Birth
from chronos_common.clan.randomness import stream
from chronos_common.clan.state import ClanState, Seat, spread

_CLOSING = 1


def close(state: ClanState) -> tuple[ClanState, RoundClosed]:
    """The state before the next round, once every living member has reported; pure in (seed, state)."""
    measured = _measured(state)
    living = measured.living
    population = [measured.seats[member].genome for member in living]
    ranking = tuple(living[position] for position in ranked(population))
    after = replace(measured, step=state.step + round_steps(state), running=False)
    if state.fanning:
        return _after_fan_out(after, ranking)
    total = state.config.total_steps
    if total is not None and after.step >= total:
        return replace(after, finished=True), RoundClosed(round=state.round, ranking=ranking, finished=True)
    seats, moves = _select(after, ranking)
    selection = state.config.selection
    soup = ranking[: max(1, int(selection.soup_share * len(ranking)))] if selection.soup else ()
    soup = tuple(member for member in soup if math.isfinite(measured.seats[member].genome.loss))
    decision = RoundClosed(round=state.round, ranking=ranking, moves=moves, soup=soup)
    return _next_round(after, seats), decision


def round_steps(state: ClanState) -> int:
    """Steps of the running round, or of the next."""
    wanted = state.config.fan_out_steps if state.fanning else state.config.round_length
    total = state.config.total_steps
    return wanted if total is None else max(1, min(wanted, total - state.step))


def _measured(state: ClanState) -> ClanState:
    seats = [
        replace(seat, genome=replace(seat.genome, fitness=seat.reported), reported=None)
        if seat.alive
        else seat
        for seat in state.seats
    ]
    return replace(state, seats=tuple(seats))


def _after_fan_out(state: ClanState, ranking: tuple[int, ...]) -> tuple[ClanState, RoundClosed]:
    config, living = state.config, state.living
    winner = ranking[0]
    best = state.seats[winner].genome
    total = config.total_steps
    over = total is not None and state.step >= total
    moves = tuple(Move(target=member, source=winner) for member in living if member != winner)
    decision = RoundClosed(round=state.round, ranking=ranking, moves=moves, finished=over)
    seats = _clones(state, best, winner)
    state = replace(
        _next_round(state, seats), fan_outs=state.fan_outs + 1, schedule_start=state.step, finished=over
    )
    at_edge = winner in (living[0], living[-1]) and len(living) > 1
    again = at_edge and not over and state.fan_outs <= config.fan_out.repeats
    if not again:
        return replace(state, fanning=False), decision
    restart = config.fan_out.restart or not math.isfinite(best.loss)
    return spread(state, best.alleles), replace(decision, restart=restart)


def _clones(state: ClanState, best: Genome, winner: int) -> list[Seat]:
    """Everyone's genome after a fan-out: the winner's own alleles, in children of the winner."""
    seats = list(state.seats)
    for member in state.living:
        if member != winner:
            draw = stream(state.seed, _CLOSING, state.round, member)
            child = best.child(best.alleles, genome_id=new_id(draw), born=state.round + 1)
            seats[member] = replace(seats[member], genome=child)
    return seats


def _select(state: ClanState, ranking: tuple[int, ...]) -> tuple[list[Seat], tuple[Move, ...]]:
    selection, breeding = state.config.selection, state.config.breeding
    seats, living = list(state.seats), state.living
    population = [state.seats[member].genome for member in living]
    moves: list[Move] = []
    count = int(selection.replaced * len(ranking))
    replaced = set(ranking[len(ranking) - count :]) if count else set()
    for member in living:
        draw = stream(state.seed, _CLOSING, state.round, member)
        if member in replaced:
            child = breeding.breed(
                population, born=state.round + 1, draw=draw, mutate=selection.mutants != "none"
            )
            seats[member] = replace(seats[member], genome=child.genome)
            moves.append(Move(target=member, source=living[child.source]))
        elif selection.mutants == "all":
            genome = seats[member].genome
            alleles = breeding.mutation.mutate(genome.alleles, population, draw)
            mutant = genome.child(alleles, genome_id=new_id(draw), born=state.round + 1)
            seats[member] = replace(seats[member], genome=mutant)
    return seats, tuple(move for move in moves if move.target != move.source)


def _next_round(state: ClanState, seats: list[Seat]) -> ClanState:
    births = tuple(
        Birth.of(seat.genome, slot)
        for slot, (seat, before) in enumerate(zip(seats, state.seats, strict=True))
        if seat.genome.genome_id != before.genome.genome_id
    )
    return replace(state, seats=tuple(seats), round=state.round + 1, births=state.births + births)
