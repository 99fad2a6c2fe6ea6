"""What the comparison of populations measures with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from benchmarks.population.arms import configured
from benchmarks.population.budget import cost
from benchmarks.population.clan_arm import train_clan
from benchmarks.population.tasks import TASKS, spirals
from benchmarks.population.training import Population
from chronos_common.clan import preset


def test_a_stacked_population_trains_as_each_member_would_alone() -> None:
    task = spirals(0)
    population = Population(task, 2, seed=1)
    values = [{"lr": 1e-2, "weight_decay": 0.1, "one_minus_beta1": 0.1}, {"lr": 1e-3, "weight_decay": 0.0}]
    models = []
    for value in values:
        model = nn.Sequential(nn.Linear(12, 128), nn.ReLU(), nn.Linear(128, 8))
        start = [
            population.parameters[f"{name}.{part}"][0]
            for name in ("hidden", "out")
            for part in ("weight", "bias")
        ]
        for parameter, tensor in zip(model.parameters(), start, strict=True):
            parameter.data.copy_(tensor.T if tensor.shape[0] > 1 else tensor[0])
        optimizer = AdamW(
            model.parameters(), lr=value["lr"], weight_decay=value["weight_decay"], betas=(0.9, 0.99)
        )
        models.append((model, optimizer))
    batches = Population(task, 2, seed=1)
    for _ in range(10):
        population.step(values, 1.0, shared=False, common=False)
        x, y = batches.batch(task.batch_size, common=False)
        for member, (model, optimizer) in enumerate(models):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[member]), y[member]).backward()
            optimizer.step()
    for member, (model, _) in enumerate(models):
        found = population.parameters["out.weight"][member].T
        assert torch.allclose(found, model[2].weight, atol=1e-5)
    assert population.forwards == 10 * 2 * 16 * 3


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_same_seed_gives_the_same_loss_and_equal_flops_are_not_exceeded(name: str) -> None:
    task = replace(TASKS[name](5), steps=40, round_length=10, fitness_samples=32)
    config = configured(task, "clan_plus", {}, True)
    first, second = (train_clan(task, config, 3) for _ in range(2))
    assert first == second
    allowed = 3 * 8 * 16 * 40
    assert cost(config, task) <= allowed
    assert first.forwards <= allowed + 8 * 32 + 8 * 3 * 16 * 2


def test_plain_data_parallel_training_pays_for_its_probe_alone() -> None:
    task = replace(TASKS["spirals"](5), steps=40, round_length=10, fitness_samples=32)
    config = preset("data_parallel_cosine", population_size=8, round_length=10, total_steps=40)
    assert cost(config, task) == 8 * (3 * 16 * 40 + 32)
