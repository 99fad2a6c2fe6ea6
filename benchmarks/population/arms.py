"""The table of arms: name, and how a task is trained by it at equal samples and at equal FLOPs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

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
from chronos_common.clan import Breeding, ClanConfig, FanOutConfig, ScheduleConfig, SelectionConfig, preset
from chronos_common.clan.mutation import Gaussian

PLUS = "Clan+"
PUBLISHED = "Clan as published"
PBT = "PBT, Ray's rules"
LARGE_PBT = "PBT, batch P·B, T/P steps"
PROBED = "probe + data-parallel cosine"
GRID = "grid + cosine, best of 8"
FIXED = "best fixed rate, data-parallel, 8× compute"
LOW, HIGH = "Clan+, start rate /100", "Clan+, start rate ×100"

COMPETING: Mapping[str, Mapping[str, Any]] = {"digits": {"duty_cycle": 0.25}}
"""Settings of Clan+ that follow from a task's specialised genes: at least 20 of 80 steps compete."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to train.

    Attributes:
        run: trains a task with a seed; the last argument says whether evaluation is to be paid for with steps.
        evaluates: whether the two budgets differ.
        factor: of the task's start rate.
        ablation: of Clan+.
    """

    run: Callable[[Task, int, bool], Outcome]
    evaluates: bool = True
    factor: float = 1.0
    ablation: bool = False


def clan(name: str = "clan_plus", **settings: Any) -> Callable[[Task, int, bool], Outcome]:
    """An arm that is a preset with some settings replaced."""

    def run(task: Task, seed: int, equal_flops: bool) -> Outcome:
        return train_clan(task, configured(task, name, settings, equal_flops), seed, spreads=name == "pbt")

    return run


def configured(task: Task, name: str, settings: Mapping[str, Any], equal_flops: bool) -> ClanConfig:
    """The preset for a task: its round length and its steps."""
    own = COMPETING.get(task.name, {}) if name == "clan_plus" else {}
    plain = {"population_size": MEMBERS, "round_length": task.round_length, "total_steps": task.steps}
    config = preset(name, **{**plain, **own, **settings})
    return fitted(config, task) if equal_flops else config


def large_pbt(task: Task, seed: int, equal_flops: bool) -> Outcome:
    """PBT whose members see what a whole clan sees in a step, and take so many steps fewer."""
    config = configured(task, "pbt", {}, equal_flops)
    steps = max(1, (config.total_steps or 0) // MEMBERS)
    shorter = replace(config, total_steps=steps, round_length=max(1, task.round_length // MEMBERS))
    return train_clan(task, shorter, seed, spreads=True, samples=MEMBERS * task.batch_size)


def plain(run: Callable[[Task, int], Outcome]) -> Arm:
    """An arm whose evaluations, if any, are too few to count."""
    return Arm(run=lambda task, seed, _: run(task, seed), evaluates=False)


ARMS: Mapping[str, Arm] = {
    GRID: plain(grid_cosine),
    PBT: Arm(run=clan("pbt")),
    LARGE_PBT: Arm(run=large_pbt),
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
    "Clan+, wide mutation of all": Arm(
        run=clan(selection=SelectionConfig(mutants="all"), breeding=Breeding(mutation=Gaussian())),
        ablation=True,
    ),
}


def trained(task: str, arm: str, seed: int, *, equal_flops: bool, quick: bool = False) -> dict[str, Any]:
    """One row: the arm on the task with the seed, and what it took."""
    chosen = ARMS[arm]
    made = TASKS[task](seed)
    lr = made.genes["lr"]
    assert isinstance(lr.expressed, float)
    made = TASKS[task](seed, rate=lr.expressed * chosen.factor)
    made = replace(made, steps=made.steps // 4, round_length=made.round_length // 2) if quick else made
    began = time.process_time()
    outcome = chosen.run(made, seed, equal_flops)
    last = outcome.trace[-1] if outcome.trace else {}
    return {
        "task": task,
        "arm": arm,
        "seed": seed,
        "budget": "flops" if equal_flops else "samples",
        "test_loss": outcome.test if outcome.test == outcome.test else None,
        "validation_loss": outcome.validation,
        "forwards": outcome.forwards,
        "cpu_seconds": time.process_time() - began,
        "last_rate": last.get("lr"),
    }
