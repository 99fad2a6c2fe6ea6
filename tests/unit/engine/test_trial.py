"""Which start is taken: the one with the lowest outer loss after one update; never one that diverges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from chronos_common.engine.trial import COLD, try_starts
from chronos_common.errors import ShapeMismatchError
from chronos_common.hypergradient import make_estimator
from chronos_common.tensors import Arrays
from examples.ridge import Ridge


def decay(value: float) -> Arrays:
    return {"decay": np.full(6, math.log(value))}


def test_the_lowest_loss_comes_first_and_is_that_of_the_inner_solution() -> None:
    problem = Ridge(6)
    starts = {COLD: decay(0.1), "good": decay(1e-3), "bad": decay(9.0)}
    trials = try_starts(problem, make_estimator("implicit"), starts, inner_steps=400)
    assert [trial.start for trial in trials] == ["good", COLD, "bad"]
    for trial in trials:
        w = problem.solution(torch.tensor(np.exp(starts[trial.start]["decay"]))).params["w"]
        exact = float((problem.x_validation @ w - problem.y_validation).square().mean() / 2)
        assert trial.outer_loss == pytest.approx(exact, rel=1e-3)


def test_the_cold_start_wins_ties() -> None:
    starts = {"same": decay(0.1), COLD: decay(0.1)}
    trials = try_starts(Ridge(6), make_estimator("implicit"), starts, inner_steps=5)
    assert [trial.start for trial in trials] == [COLD, "same"]


def test_what_diverges_comes_last_and_says_so() -> None:
    problem = Ridge(6)
    problem.inner_learning_rate = 0.5
    starts = {"wild": decay(10.0), COLD: decay(0.1)}  # a rate of .5 leaps over a curvature above 4
    trials = try_starts(problem, make_estimator("implicit"), starts, inner_steps=2000)
    assert [trial.start for trial in trials] == [COLD, "wild"]
    assert math.isinf(trials[1].outer_loss)
    assert trials[1].problem


def test_a_start_of_another_shape_is_an_error() -> None:
    with pytest.raises(ShapeMismatchError):
        try_starts(Ridge(7), make_estimator("implicit"), {COLD: decay(0.1)}, inner_steps=5)
