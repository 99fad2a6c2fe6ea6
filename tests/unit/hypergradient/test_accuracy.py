"""Every estimator is as accurate as it says, on ridge and on a small network that is not convex."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from chronos_common.hypergradient import ESTIMATORS, make_estimator
from chronos_common.hypergradient.accuracy import ACCURACY, Accuracy
from chronos_common.problem import InnerProblem, InnerState
from tests.support.problems import Ridge, central_differences, small_mlp, solved_loss

STEPS = 400


@cache
def solved_ridge() -> tuple[InnerProblem, InnerState, Tensor]:
    ridge = Ridge(8)
    return ridge, ridge.solution(ridge.start), ridge.hypergradient(ridge.start)


@cache
def solved_network() -> tuple[InnerProblem, InnerState, Tensor]:
    mlp = small_mlp()
    solved, run = mlp.solve(num_steps=3000)
    return mlp, solved, make_estimator("exact").compute_hypergradient(run, mlp).gradient["decay"]


def relative(value: Tensor, truth: Tensor) -> float:
    return float((value - truth).norm() / truth.norm())


def error(name: str, promise: Accuracy, problem: InnerProblem, start: InnerState, truth: Tensor) -> float:
    estimator, state = make_estimator(name, **promise.settings), None
    for _ in range(promise.calls):
        _, run = problem.solve(init=start, num_steps=promise.inner_steps, keep_last=estimator.keep_last)
        result = estimator.compute_hypergradient(run, problem, state)
        state = result.state
    return relative(result.gradient["decay"], truth)


def test_every_estimator_says_how_accurate_it_is() -> None:
    assert ACCURACY.keys() == ESTIMATORS.keys()


@pytest.mark.parametrize("name", sorted(ACCURACY))
def test_on_ridge(name: str) -> None:
    assert error(name, ACCURACY[name], *solved_ridge()) <= ACCURACY[name].ridge


@pytest.mark.parametrize("name", sorted(ACCURACY))
def test_on_a_network(name: str) -> None:
    assert error(name, ACCURACY[name], *solved_network()) <= ACCURACY[name].network


def test_the_truth_of_the_network_is_that_of_central_differences() -> None:
    problem, solved, truth = solved_network()
    _, run = problem.solve(init=solved, num_steps=0)
    differences = central_differences(solved_loss(problem, STEPS, init=solved), run.outer)["decay"]
    assert relative(truth, differences) <= 1e-5
    assert float(truth.norm()) > 1e-3
    eigenvalues = torch.linalg.eigvalsh(Ridge(8).hessian(Ridge(8).start))
    assert 0.8 < float(eigenvalues[0]) < float(eigenvalues[-1]) < 3.2, "accuracy.py tells of another ridge"
