from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from chronos_common.hypergradient.solvers.conjugate_gradient import conjugate_gradient
from tests.support.problems import DOUBLE, normal


def spd(size: int, seed: int = 0) -> Tensor:
    root = normal(size, size, seed=seed)
    return root @ root.T + torch.eye(size, dtype=DOUBLE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 30])
def test_solves_a_positive_definite_system(size: int, dtype: torch.dtype) -> None:
    a, b = spd(size).to(dtype), normal(size, seed=9).to(dtype)
    solution = conjugate_gradient(lambda v: a @ v, b, max_steps=4 * size + 10, tolerance=1e-10)
    assert solution.converged
    assert not solution.breakdown
    assert float((a @ solution.x - b).norm() / b.norm()) < max(1e-9, 100 * torch.finfo(dtype).eps)
    assert solution.x.dtype == dtype


def test_reports_the_true_residual_and_stops_after_max_steps() -> None:
    """The residual must follow the iterate: an old one in its place once gave a widely used library 2.1×."""
    a, b = spd(30), normal(30, seed=1)
    solution = conjugate_gradient(lambda v: a @ v, b, max_steps=5, tolerance=0.0)
    assert solution.iterations == 5
    assert not solution.converged
    assert solution.residual == pytest.approx(float((b - a @ solution.x).norm() / b.norm()), rel=1e-9)


def test_the_error_in_the_norm_of_a_falls_with_every_step() -> None:
    a, b = spd(30), normal(30, seed=1)
    exact = torch.linalg.solve(a, b)
    errors = []
    for steps in range(1, 20):
        e = conjugate_gradient(lambda v: a @ v, b, max_steps=steps, tolerance=0.0).x - exact
        errors.append(float(e @ a @ e))
    assert errors == sorted(errors, reverse=True)


def test_zero_and_empty_right_hand_sides_need_no_step() -> None:
    for b in (torch.zeros(3, dtype=DOUBLE), torch.empty(0)):
        solution = conjugate_gradient(lambda v: v, b, max_steps=5, tolerance=1e-10)
        assert solution.converged
        assert (solution.iterations, solution.residual) == (0, 0.0)
        assert torch.equal(solution.x, b)


def test_a_good_guess_saves_steps_and_a_bad_one_costs_none() -> None:
    a, b = spd(30), normal(30, seed=1)

    def iterations(x0: Tensor | None) -> int:
        solution = conjugate_gradient(lambda v: a @ v, b, x0=x0, max_steps=100, tolerance=1e-8)
        assert float((a @ solution.x - b).norm() / b.norm()) < 1e-7
        return solution.iterations

    cold = iterations(None)
    exact = torch.linalg.solve(a, b)
    assert iterations(exact + 1e-4 * normal(30, seed=2)) < cold
    assert iterations(exact) == 0
    assert iterations(1e9 * normal(30, seed=3)) == cold
    guess = exact.clone()
    iterations(guess)
    assert torch.equal(guess, exact), "the caller's guess was overwritten"


def test_negative_curvature_ends_the_loop_and_is_reported() -> None:
    diagonal = torch.tensor([1.0, 2.0, -1.0], dtype=DOUBLE)
    b = torch.tensor([1.0, 1.0, 1e-3], dtype=DOUBLE)
    solution = conjugate_gradient(lambda v: diagonal * v, b, max_steps=10, tolerance=0.0)
    assert solution.breakdown
    assert not solution.converged
    assert solution.iterations >= 1
    assert torch.isfinite(solution.x).all()
    immediate = conjugate_gradient(lambda v: -v, b, max_steps=10, tolerance=0.0)
    assert immediate.breakdown
    assert torch.equal(immediate.x, torch.zeros_like(b))


def test_a_singular_operator_does_not_blow_up() -> None:
    root = normal(10, 4, seed=5)
    a, b = root @ root.T, normal(10, seed=6)
    solution = conjugate_gradient(lambda v: a @ v, b, max_steps=50, tolerance=0.0)
    assert solution.breakdown
    assert not solution.converged
    assert float(solution.x.norm()) < 1e6


def test_curvature_of_the_size_of_rounding_is_not_divided_by() -> None:
    diagonal, b = torch.tensor([1.0, 1e-20], dtype=DOUBLE), torch.ones(2, dtype=DOUBLE)
    solution = conjugate_gradient(lambda v: diagonal * v, b, max_steps=10, tolerance=0.0)
    assert solution.breakdown
    assert float(solution.x.norm()) < 10


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_are_never_called_converged(bad: float) -> None:
    b = torch.tensor([1.0, bad])
    assert not conjugate_gradient(lambda v: v, b, max_steps=5, tolerance=1e-3).converged
    fine = torch.ones(2)
    poisoned = conjugate_gradient(lambda v: v * bad, fine, max_steps=5, tolerance=1e-3)
    assert math.isnan(poisoned.residual)
    assert not poisoned.converged
