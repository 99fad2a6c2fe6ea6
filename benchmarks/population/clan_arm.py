"""Arms that are presets of :class:`ClanConfig`: the round machine decides, the stacked population carries out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.population.budget import selects
from benchmarks.population.tasks import Task
from benchmarks.population.training import Population
from chronos_common.clan import (
    ClanConfig,
    ClanState,
    FitnessReported,
    RoundClosed,
    RoundPlan,
    RoundStarted,
    averaging_decay,
    fold,
    found,
    rate_factor,
)
from chronos_common.clan.state import spread


@dataclass(kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        test: test loss of the member with the best validation loss.
        validation: that loss.
        forwards: what it cost: samples forward, a training sample three times.
        trace: the best member's genes and fitness by round.
    """

    test: float
    validation: float
    forwards: float
    trace: list[dict[str, Any]] = field(default_factory=list)


def train_clan(
    task: Task, config: ClanConfig, seed: int, *, spreads: bool = False, samples: int = 0
) -> Outcome:
    """A whole training; where no selection takes place nothing is evaluated but the fan-out and the end.

    Args:
        task: what is trained.
        config: of the clan; its ``total_steps`` are trained.
        seed: of everything.
        spreads: members begin with the fan-out's range of rates, without a fan-out (as a tuner's trials do).
        samples: of one member in one step; 0 for the task's.
    """
    population = Population(task, config.population_size, seed, averaging=config.averaging)
    state = found(config, task.genes, seed)
    state = spread(state, task.genes) if spreads else state
    trace: list[dict[str, Any]] = []
    while not state.finished:
        kept = population.snapshot() if state.fanning else []
        state, plan = _begin(state)
        _train(population, config, plan, samples)
        measured = selects(config) or state.fanning
        losses = (
            population.evaluate(task.validation, task.fitness_samples)
            if measured
            else [0.0] * population.members
        )
        decision = None
        for member, loss in enumerate(losses):
            folded = fold(state, FitnessReported(round=plan.round, member=member, fitness=loss))
            state = folded.state
            decision = folded.decisions[0] if folded.decisions else decision
        assert isinstance(decision, RoundClosed)
        best = plan.genomes[decision.ranking[0]]
        assert best is not None
        trace.append(
            {"step": plan.first_step + plan.steps, "loss": losses[decision.ranking[0]], **best.values()}
        )
        _close(population, decision, kept)
    return finish(population, trace)


def finish(population: Population, trace: list[dict[str, Any]]) -> Outcome:
    """The best member by the whole validation split, and its test loss; neither is counted as cost of any arm."""
    validation = population.evaluate(population.task.validation, counted=False)
    validation = [loss if loss == loss else float("inf") for loss in validation]
    best = min(range(len(validation)), key=validation.__getitem__)
    test = population.evaluate(population.task.test, counted=False)
    return Outcome(test=test[best], validation=validation[best], forwards=population.forwards, trace=trace)


def _begin(state: ClanState) -> tuple[ClanState, RoundPlan]:
    folded = fold(state, RoundStarted(round=state.round))
    (plan,) = folded.decisions
    assert isinstance(plan, RoundPlan)
    return folded.state, plan


def _train(population: Population, config: ClanConfig, plan: RoundPlan, samples: int) -> None:
    own = [genome.values() if genome is not None else {} for genome in plan.genomes]
    agreed = [{**values, **plan.consensus} for values in own]
    for step in range(plan.steps):
        phase = plan.phase_at(step)
        factor = rate_factor(config, plan.first_step + step, plan.schedule_start)
        values = own if phase.expresses_all else agreed
        population.step(
            values,
            factor,
            shared=phase.shares_gradients and config.average_every == 1,
            common=phase.common_data,
            samples=samples,
            decay=averaging_decay(config, plan.first_step + step),
            averaged=plan.averages_at(step, config.average_every),
        )


def _close(population: Population, decision: RoundClosed, kept: list[Any]) -> None:
    if decision.finished:
        return
    if decision.restart:
        population.restore(kept)
        return
    souped = None
    if decision.soup:
        best = list(decision.soup)
        souped = {name: value[best].mean(0, keepdim=True) for name, value in population.parameters.items()}
    sources = list(range(population.members))
    for move in decision.moves:
        sources[move.target] = move.source
    population.move(sources)
    if souped is not None:
        for name, value in population.parameters.items():
            value.copy_(souped[name].expand_as(value))
