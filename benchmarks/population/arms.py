"""The table of arms: name, and how a task is trained by it at equal samples and at equal FLOPs."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.population.baselines import (
    MEMBERS,
    best_fixed,
    grid_cosine,
    hypergradient_descent,
    successive_halving,
)
from benchmarks.population.budget import fitted
from benchmarks.population.clan_arm import Outcome, train_clan
from benchmarks.population.tasks import TASKS, Task
from chronos_common.clan import ClanConfig, FanOutConfig, ScheduleConfig, SelectionConfig, preset

PLUS = "Clan+"
PUBLISHED = "Clan as published"
PBT = "PBT, Ray's rules"
RAY = "Ray Tune PBT"
OPTUNA = "Optuna TPE + successive halving"
LARGE_PBT = "PBT, batch P·B, T/P steps"
PROBED = "probe + data-parallel cosine"
GRID = "grid + cosine, best of 8"
FIXED = "best fixed rate, data-parallel, 8× compute"
SHARING = "Clan+, every gradient shared"
LOW, HIGH = "Clan+, start rate /100", "Clan+, start rate ×100"

Budget = Literal["samples", "flops", "seconds"]

OWN: Mapping[str, Mapping[str, Any]] = {
    "lm": {"round_length": 160},
    "digits": {"duty_cycle": 0.25, "average_every": 4},
    "spirals": {"round_length": 160},
}
"""Settings of Clan+ that follow from a task: where a gene is specialised, at least 20 of 80 steps compete, else rounds
are longer; where training labels are wrong, members share weights now and then instead of every gradient."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to train.

    Attributes:
        run: trains a task with a seed; the last argument says whether evaluation is to be paid for with steps.
        evaluates: whether the two budgets differ.
        factor: of the task's start rate.
        ablation: of Clan+.
        processes: it starts its own, so that this process's seconds say nothing.
    """

    run: Callable[[Task, int, bool], Outcome]
    evaluates: bool = True
    factor: float = 1.0
    ablation: bool = False
    processes: bool = False


def clan(name: str = "clan_plus", **settings: Any) -> Callable[[Task, int, bool], Outcome]:
    """An arm that is a preset with some settings replaced."""

    def run(task: Task, seed: int, equal_flops: bool) -> Outcome:
        return train_clan(task, configured(task, name, settings, equal_flops), seed, spreads=name == "pbt")

    return run


def configured(task: Task, name: str, settings: Mapping[str, Any], equal_flops: bool) -> ClanConfig:
    """The preset for a task: its round length and its steps."""
    own = OWN.get(task.name, {}) if name == "clan_plus" else {}
    plain = {"population_size": MEMBERS, "round_length": task.round_length, "total_steps": task.steps}
    config = preset(name, **{**plain, **own, **settings})
    return fitted(config, task) if equal_flops else config


def large_pbt(task: Task, seed: int, equal_flops: bool) -> Outcome:
    """PBT whose members see what a whole clan sees in a step, and take so many steps fewer."""
    config = configured(task, "pbt", {}, equal_flops)
    steps = max(1, (config.total_steps or 0) // MEMBERS)
    shorter = replace(config, total_steps=steps, round_length=max(1, task.round_length // MEMBERS))
    return train_clan(task, shorter, seed, spreads=True, samples=MEMBERS * task.batch_size)


def peer(module: str, name: str) -> Callable[[Task, int, bool], Outcome]:
    """An arm of another library, which is imported when it runs.

    Raises:
        ImportError: it is not there.
    """

    def run(task: Task, seed: int, equal_flops: bool) -> Outcome:
        found = importlib.import_module(f"benchmarks.population.peers.{module}")
        outcome: Outcome = getattr(found, name)(task, seed, equal_flops)
        return outcome

    return run


def plain(run: Callable[[Task, int], Outcome]) -> Arm:
    """An arm whose evaluations, if any, are too few to count."""
    return Arm(run=lambda task, seed, _: run(task, seed), evaluates=False)


ARMS: Mapping[str, Arm] = {
    GRID: plain(grid_cosine),
    RAY: Arm(run=peer("ray_pbt", "ray_pbt"), processes=True),
    PBT: Arm(run=clan("pbt")),
    LARGE_PBT: Arm(run=large_pbt),
    OPTUNA: Arm(run=peer("optuna_search", "optuna_search")),
    "successive halving, 24 rates": plain(successive_halving),
    "hypergradient descent": plain(hypergradient_descent),
    PROBED: Arm(run=clan("data_parallel_cosine")),
    PUBLISHED: Arm(run=clan("published")),
    PLUS: Arm(run=clan()),
    LOW: Arm(run=clan(), factor=0.01),
    HIGH: Arm(run=clan(), factor=100.0),
    FIXED: plain(best_fixed),
    "Clan+ without fan-out": Arm(run=clan(fan_out=FanOutConfig(enabled=False)), ablation=True),
    "Clan+ without averaging": Arm(run=clan(averaging=0.0), ablation=True),
    "Clan+ without soup": Arm(run=clan(selection=SelectionConfig(soup=False)), ablation=True),
    "Clan+ without mutation": Arm(run=clan(selection=SelectionConfig(mutants="none")), ablation=True),
    "Clan+ without decay": Arm(run=clan(schedule=ScheduleConfig(decay=0.0)), ablation=True),
    SHARING: Arm(run=clan(average_every=1), ablation=True),
    "Clan+, all members mutate": Arm(run=clan(selection=SelectionConfig(mutants="all")), ablation=True),
}


def trained(
    task: str, arm: str, seed: int, budget: Budget, *, quick: bool = False, longer: float = 1.0
) -> dict[str, Any]:
    """One row: the arm on the task with the seed, and what it took.

    Args:
        task: its name.
        arm: its name.
        seed: of data, weights and decisions.
        budget: whether evaluation is paid for with steps (``flops``) or not.
        quick: a quarter of the steps.
        longer: how many times the task's steps.
    """
    chosen = ARMS[arm]
    made = TASKS[task](seed)
    lr = made.genes["lr"]
    assert isinstance(lr.expressed, float)
    made = TASKS[task](seed, rate=lr.expressed * chosen.factor)
    made = replace(made, steps=made.steps // 4, round_length=made.round_length // 2) if quick else made
    made = replace(made, steps=max(1, round(made.steps * longer)))
    began, began_here = time.monotonic(), time.process_time()
    outcome = chosen.run(made, seed, budget == "flops")
    last = outcome.trace[-1] if outcome.trace else {}
    return {
        "task": task,
        "arm": arm,
        "seed": seed,
        "budget": budget,
        "test_loss": outcome.test if math.isfinite(outcome.test) else None,
        "validation_loss": outcome.validation if math.isfinite(outcome.validation) else None,
        "forwards": outcome.forwards,
        "cpu_seconds": None if chosen.processes else time.process_time() - began_here,
        "wall_seconds": time.monotonic() - began,
        "last_rate": last.get("lr"),
        "last_dropout": last.get("dropout"),
    }
