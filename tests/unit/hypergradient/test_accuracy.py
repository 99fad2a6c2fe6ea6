"""Every estimator is as accurate as it says, on ridge and on a small network that is not convex."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from chronos_common.hypergradient import ESTIMATORS, make_estimator
from chronos_common.hypergradient.accuracy import ACCURACY, Accuracy
from chronos_common.problem import InnerProblem, InnerState
from tests.support.problems import (
    Ridge,
    Started,
    WithMomentum,
    central_differences,
    small_mlp,
    solved_loss,
    with_velocity,
)

pytestmark = pytest.mark.numerical

STEPS = 400
Solved = tuple[InnerProblem, InnerState | None, Tensor]


@cache
def solved_ridge() -> Solved:
    ridge = Ridge(8)
    return ridge, ridge.solution(ridge.start), ridge.hypergradient(ridge.start)


@cache
def solved_network() -> Solved:
    mlp = small_mlp()
    solved, run = mlp.solve(num_steps=3000)
    return mlp, solved, make_estimator("exact").compute_hypergradient(run, mlp).gradient["decay"]


def relative(value: Tensor, truth: Tensor) -> float:
    return float((value - truth).norm() / truth.norm())


def variant(name: str, solved: Solved) -> Solved:
    """The problem as ``Accuracy.variant`` calls it, where its inner loop begins, and its hypergradient."""
    problem, start, truth = solved
    if name == "momentum":
        assert start is not None
        return WithMomentum(problem), with_velocity(start), truth
    if name == "start":
        meta = Started(problem)
        _, run = meta.solve(num_steps=5)
        return meta, None, meta.flat(central_differences(solved_loss(meta, 5), run.outer))
    return problem, start, truth


def error(name: str, promise: Accuracy, solved: Solved) -> float:
    problem, start, truth = variant(promise.variant, solved)
    estimator, state = make_estimator(name, **promise.settings), None
    for _ in range(promise.calls):
        _, run = problem.solve(init=start, num_steps=promise.inner_steps, keep_last=estimator.keep_last)
        result = estimator.compute_hypergradient(run, problem, state)
        state = result.state
    scale = Started.flat(run.outer) if promise.logarithmic else 1.0
    return relative(Started.flat(result.gradient) * scale, truth * scale)


def test_every_estimator_says_how_accurate_it_is() -> None:
    assert ACCURACY.keys() == ESTIMATORS.keys()


@pytest.mark.parametrize("name", sorted(ACCURACY))
def test_on_ridge(name: str) -> None:
    assert error(name, ACCURACY[name], solved_ridge()) <= ACCURACY[name].ridge


@pytest.mark.parametrize("name", sorted(ACCURACY))
def test_on_a_network(name: str) -> None:
    assert error(name, ACCURACY[name], solved_network()) <= ACCURACY[name].network


def test_the_truth_of_the_network_is_that_of_central_differences() -> None:
    problem, solved, truth = solved_network()
    _, run = problem.solve(init=solved, num_steps=0)
    differences = central_differences(solved_loss(problem, STEPS, init=solved), run.outer)["decay"]
    assert relative(truth, differences) <= 1e-5
    assert float(truth.norm()) > 1e-3
    eigenvalues = torch.linalg.eigvalsh(Ridge(8).hessian(Ridge(8).start))
    assert 0.8 < float(eigenvalues[0]) < float(eigenvalues[-1]) < 3.2, "accuracy.py tells of another ridge"
