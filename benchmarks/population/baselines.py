"""Arms that are not clans: grids, successive halving, hypergradient descent; all on the same stacked population."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.population.clan_arm import Outcome, finish
from benchmarks.population.tasks import Task, hyper
from benchmarks.population.training import BACKWARD, Population

MEMBERS = 8
DECADES = 1.5
HYPER_RATE = 0.1
"""Largest change of the logarithm of the rate in one step of hypergradient descent."""


def cosine(step: int, steps: int, warm_up: float = 0.02) -> float:
    """Linear warm-up, then half a cosine to 0."""
    rising = min(1.0, (step + 1) / max(1.0, warm_up * steps))
    return rising * (1.0 + math.cos(math.pi * step / steps)) / 2.0


def spread_values(task: Task, members: int, decades: float = DECADES) -> list[dict[str, Any]]:
    """The task's genes with rates from 10^−decades to 10^decades times the start, evenly in the logarithm."""
    values = {name: allele.expressed for name, allele in task.genes.items()}
    exponents = np.linspace(-decades, decades, members)
    return [{**values, "lr": values["lr"] * 10.0 ** float(exponent)} for exponent in exponents]


def grid_cosine(task: Task, seed: int) -> Outcome:
    """Eight rates, each trained alone with a cosine schedule; the best by validation."""
    population = Population(task, MEMBERS, seed)
    values = spread_values(task, MEMBERS)
    for step in range(task.steps):
        population.step(values, cosine(step, task.steps), shared=False, common=False)
    return finish(population, [])


def best_fixed(task: Task, seed: int) -> Outcome:
    """Data-parallel training with a cosine schedule for each of eight rates: 8 times the compute of all others."""
    population = Population(task, MEMBERS, seed)
    values = spread_values(task, MEMBERS)
    for step in range(task.steps):
        population.step(
            values, cosine(step, task.steps), shared=False, common=False, samples=MEMBERS * task.batch_size
        )
    return finish(population, [])


def successive_halving(task: Task, seed: int) -> Outcome:
    """24 random rates for an eighth of the steps; the better half goes on, and so on to all steps.

    The rule of ASHA, all trials of a rung at once: 24, 12, 6, 3 and 1 trials up to T/8, T/4, T/2, 3T/4 and T steps,
    which is no more than the steps of eight whole trainings. Each trial has a cosine schedule over T.
    """
    rungs = ((24, 8), (12, 4), (6, 2), (3, 4 / 3), (1, 1))
    draw = np.random.default_rng(seed)
    base = spread_values(task, 1, 0.0)[0]
    values = [
        {**base, "lr": base["lr"] * 10.0 ** draw.uniform(-DECADES, DECADES)} for _ in range(rungs[0][0])
    ]
    population = Population(task, len(values), seed)
    done = 0
    for trials, part in rungs:
        if trials < len(values):
            losses = population.evaluate(task.validation, task.fitness_samples)
            order = sorted(
                range(len(values)), key=lambda i: losses[i] if losses[i] == losses[i] else math.inf
            )
            kept = order[:trials]
            values = [values[i] for i in kept]
            population.keep(kept)
        until = round(task.steps / part)
        for step in range(done, until):
            population.step(values, cosine(step, task.steps), shared=False, common=False)
        done = until
    return finish(population, [])


def hypergradient_descent(task: Task, seed: int) -> Outcome:
    """Data-parallel training whose rate follows its own hypergradient (Baydin et al. 2018, multiplicative rule).

    log rate += κ·cos(g_t, −Δθ_{t−1}), κ = 0.1: the derivative of the loss by the last rate, in its sign and its
    alignment; then a linear decay over the last third, as it would never anneal by itself.
    """
    population = Population(task, 1, seed)
    value = spread_values(task, 1, 0.0)[0]
    before: dict[str, torch.Tensor] = {}
    last: dict[str, torch.Tensor] = {}
    for step in range(task.steps):
        x, y = population.batch(MEMBERS * task.batch_size, common=False)
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in population.parameters.items()}
        dropout = hyper([value], "dropout", 0.0)
        loss = task.losses(leaves, x, y, dropout, population.draw).sum()
        gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        population.forwards += BACKWARD * MEMBERS * task.batch_size
        if last:
            value = _adapted(value, gradients, last)
        before = {name: tensor.clone() for name, tensor in population.parameters.items()}
        population.apply(gradients, [value], min(1.0, 3.0 * (task.steps - step) / task.steps))
        last = {name: before[name] - tensor for name, tensor in population.parameters.items()}
    return finish(population, [])


def _adapted(
    value: Mapping[str, Any], gradients: Mapping[str, torch.Tensor], last: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    product = sum(float((gradients[name] * last[name]).sum()) for name in last)
    norms = [
        math.sqrt(sum(float(part.square().sum()) for part in parts.values())) for parts in (gradients, last)
    ]
    alignment = product / (norms[0] * norms[1]) if norms[0] * norms[1] > 0.0 else 0.0
    return {**value, "lr": value["lr"] * math.exp(HYPER_RATE * alignment)}
