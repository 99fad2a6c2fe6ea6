"""What the comparison of uneven workers measures with."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.headline import lower_bound, summary_of
from benchmarks.uneven.arms import ARMS, BARRIER, CHRONOS
from benchmarks.uneven.retraining import Training, retrain
from chronos_common.problem import Context, ModuleProblem

SAMPLES, FEATURES, CLASSES, STEPS = 40, 3, 4, 25


def test_training_many_versions_at_once_equals_training_each_alone() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, FEATURES, generator=draw, dtype=torch.float64)
    y = torch.randint(CLASSES, (SAMPLES,), generator=draw)
    weights = torch.rand(2, SAMPLES, generator=draw, dtype=torch.float64)
    training = Training(learning_rate=0.5, momentum=0.9, l2=0.01, classes=CLASSES)
    together = retrain(x, y, weights, training, STEPS).losses(x, y)
    for mine, found in zip(weights, together, strict=True):
        model = nn.Linear(FEATURES, CLASSES, dtype=torch.float64)
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        problem = ModuleProblem(
            model,
            (x, y),
            (x, y),
            outer={"weights": mine},
            sample_weights=lambda outer, positions: outer["weights"][positions],
            regulariser=lambda params, outer: 0.005 * params["weight"].square().sum(),
            learning_rate=0.5,
            momentum=0.9,
        )
        inner, trajectory = problem.solve(num_steps=STEPS)
        alone = problem.evaluate(inner, trajectory.outer, Context())["validation_loss"]
        assert found == pytest.approx(alone, rel=1e-12)


def rows(arm: str, accuracies: list[float]) -> list[dict[str, Any]]:
    counted = {
        "bytes": 50,
        "dense_bytes": 100,
        "time_saved": 0.5,
        "seconds_to_target": None,
        "versions_per_second": 1.0,
    }
    counted |= {"commits_per_second": 2.0, "pairs": 3, "commits": 4, "refused": 1, "cpu": 0.25}
    return [{"case": "c", "arm": arm, "accuracy": each, **counted} for each in accuracies]


def test_the_bound_on_accuracy_is_that_of_the_paired_differences() -> None:
    found = lower_bound(rows(CHRONOS, [91.0, 92.0, 96.0]) + rows(BARRIER, [90.0, 90.0, 93.0]), "c", 3)
    assert found == pytest.approx(2.0 - 4.303 / math.sqrt(3.0))


def test_a_summary_sums_bytes_and_refusals_and_says_how_many_arrived() -> None:
    summary = summary_of(rows(CHRONOS, [91.0, 93.0]), "c", CHRONOS)
    assert (summary["bytes saved %"], summary["refused"], summary["reached"]) == (50.0, 2, "0/2")
    assert summary["accuracy %"] == 92.0


def test_the_first_arm_is_what_the_others_are_compared_with() -> None:
    assert next(iter(ARMS)) == BARRIER
