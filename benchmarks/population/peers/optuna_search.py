"""Optuna: TPE with successive halving over the task's genes, one trial after the other.

A trial trains one member with a cosine schedule over all of the task's steps; its fitness is reported after every
round, where the pruner may end it. Trials follow until the budget of the other arms' eight members is spent.
"""

from __future__ import annotations

import math
from typing import Any

import optuna

from benchmarks.population.baselines import DECADES, MEMBERS, cosine, spread_values
from benchmarks.population.clan_arm import Outcome
from benchmarks.population.tasks import Task
from benchmarks.population.training import BACKWARD, Population
from chronos_common.clan import LogFloatAllele


def optuna_search(task: Task, seed: int, equal_flops: bool) -> Outcome:
    """The best trial that came to its end, by the whole validation split."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    )
    allowed = BACKWARD * task.batch_size * task.steps * MEMBERS
    spent, best = 0.0, Outcome(test=math.inf, validation=math.inf, forwards=0.0)
    while spent < allowed:
        trial = study.ask()
        values, population = _suggested(task, trial), Population(task, 1, seed)
        population.reseed(seed, trial.number)
        fitness, through = _trained(task, population, values, trial, allowed - spent, equal_flops)
        spent += population.forwards
        pruned = optuna.trial.TrialState.PRUNED if not through else optuna.trial.TrialState.COMPLETE
        study.tell(trial, fitness if through else None, state=pruned)
        if through:
            validation = population.evaluate(task.validation, counted=False)[0]
            if validation < best.validation:
                test = population.evaluate(task.test, counted=False)[0]
                best = Outcome(test=test, validation=validation, forwards=0.0, trace=[values])
    best.forwards = spent
    return best


def _suggested(task: Task, trial: Any) -> dict[str, Any]:
    centre = spread_values(task, 1, 0.0)[0]
    values: dict[str, Any] = {}
    for name, allele in task.genes.items():
        low, high = allele.domain  # type: ignore[attr-defined]
        if name == "lr":
            low, high = (centre["lr"] * 10.0**end for end in (-DECADES, DECADES))
        values[name] = trial.suggest_float(name, low, high, log=isinstance(allele, LogFloatAllele))
    return values


def _trained(
    task: Task, population: Population, values: dict[str, Any], trial: Any, left: float, equal_flops: bool
) -> tuple[float, bool]:
    """Fitness at the end, and whether there was one: not where the budget ran out or the pruner said so."""
    fitness = math.inf
    for step in range(task.steps):
        population.step([values], cosine(step, task.steps), shared=False, common=False)
        if population.forwards > left:
            return fitness, False
        if (step + 1) % task.round_length == 0 or step + 1 == task.steps:
            fitness = population.evaluate(task.validation, task.fitness_samples, counted=equal_flops)[0]
            if not math.isfinite(fitness):
                return fitness, False
            trial.report(fitness, (step + 1) // task.round_length)
            if step + 1 < task.steps and trial.should_prune():
                return fitness, False
    return fitness, True
