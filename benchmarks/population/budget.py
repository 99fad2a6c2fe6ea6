"""What a clan's training costs, and how many steps it may take for the cost of another without evaluation."""

from __future__ import annotations

import math
from dataclasses import replace

from benchmarks.population.tasks import Task
from benchmarks.population.training import BACKWARD
from chronos_common.clan import ClanConfig


def selects(config: ClanConfig) -> bool:
    """Whether fitness matters after the fan-out."""
    return config.selection.replaced > 0.0 or config.selection.soup


def cost(config: ClanConfig, task: Task) -> float:
    """Forward passes of single samples, the backward pass counted as two more; one fan-out is assumed."""
    steps = config.total_steps or 0
    fan_out = config.fan_out_steps if config.fan_out.enabled else 0
    rounds = math.ceil((steps - fan_out) / config.round_length) if selects(config) else 0
    evaluations = rounds + (1 if fan_out else 0)
    return config.population_size * (BACKWARD * task.batch_size * steps + task.fitness_samples * evaluations)


def fitted(config: ClanConfig, task: Task) -> ClanConfig:
    """With as many steps as cost no more than the task's steps of its members cost without any evaluation."""
    allowed = BACKWARD * task.batch_size * config.population_size * task.steps
    steps = task.steps
    while cost(replace(config, total_steps=steps), task) > allowed:
        steps -= 1
    return replace(config, total_steps=steps)
