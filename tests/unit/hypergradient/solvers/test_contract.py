"""What every solver of the table promises. A new solver gets a row in ``EXACT``."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.solvers import SOLVERS, LinearSolver, LinearSystem, make_solver
from tests.support.problems import DOUBLE, normal

EXACT: dict[str, dict[str, float]] = {
    "cg": {"steps": 200, "tolerance": 1e-12},
    "normal_cg": {"steps": 400, "tolerance": 1e-12},
    "gmres": {"steps": 200, "restart": 40, "tolerance": 1e-12},
    "bicgstab": {"steps": 200, "tolerance": 1e-12},
    "neumann": {"steps": 5000, "tolerance": 1e-12},
    "fixed_point": {"steps": 5000, "tolerance": 1e-12},
    "nystrom": {"rank": 30},
    "exact": {},
}
"""Settings with which each solves the systems below to rounding."""

SIZE = 30


def spd(size: int = SIZE, seed: int = 0) -> Tensor:
    """Eigenvalues in [0.1, 1.1]: also a contraction when it is taken from the identity."""
    root = normal(size, size, seed=seed)
    gram = root @ root.T
    return gram / torch.linalg.matrix_norm(gram, 2) + 0.1 * torch.eye(size, dtype=DOUBLE)


def skewed(size: int = SIZE) -> Tensor:
    """Not symmetric, and a contraction when it is taken from the identity."""
    noise = normal(size, size, seed=3)
    return torch.eye(size, dtype=DOUBLE) - 0.8 * noise / torch.linalg.matrix_norm(noise, 2)


def system(a: Tensor, b: Tensor, *, damping: float = 0.0) -> LinearSystem:
    a = a + damping * torch.eye(len(a), dtype=a.dtype)
    symmetric = torch.equal(a, a.T)
    return LinearSystem(
        product=lambda v: a @ v,
        transposed=None if symmetric else lambda v: a.T @ v,
        b=b,
        damping=damping,
        seed=7,
    )


@pytest.fixture(params=sorted(SOLVERS))
def solver(request: pytest.FixtureRequest) -> LinearSolver:
    return make_solver(request.param, **EXACT[request.param])


def residual(a: Tensor, b: Tensor, x: Tensor) -> float:
    return float((a @ x - b).norm() / b.norm())


@pytest.mark.parametrize("size", [1, 2, SIZE])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_solves_a_positive_definite_system(solver: LinearSolver, size: int, dtype: torch.dtype) -> None:
    a, b = spd(size).to(dtype), normal(size, seed=9, dtype=dtype)
    kept = b.clone()
    solution = solver.solve(system(a, b, damping=0.1))
    assert solution.converged
    assert not solution.breakdown
    damped = a + 0.1 * torch.eye(size, dtype=dtype)
    assert residual(damped, b, solution.x) < max(1e-9, 200 * torch.finfo(dtype).eps)
    assert solution.x.dtype == dtype
    assert torch.equal(b, kept)


def test_the_residual_that_is_reported_is_the_residual(solver: LinearSolver) -> None:
    """Also far from convergence: an old one in its place once gave a widely used library 2.1×."""
    a, b = spd(), normal(SIZE, seed=1)
    short = (
        {"rank": 3, "refine": 2}
        if solver.name == "nystrom"
        else {"steps": 3}
        if solver.name != "exact"
        else {}
    )
    solution = make_solver(solver.name, **short).solve(system(a, b, damping=0.01))
    damped = a + 0.01 * torch.eye(SIZE, dtype=DOUBLE)
    assert solution.residual == pytest.approx(residual(damped, b, solution.x), rel=1e-6, abs=1e-13)
    assert solution.converged == (solver.name == "exact")


def test_symmetry_is_needed_only_where_it_is_said(solver: LinearSolver) -> None:
    if solver.symmetric_only:
        return  # the estimator refuses the combination: test_implicit_family.py
    a, b = skewed(), normal(SIZE, seed=2)
    solution = solver.solve(system(a, b))
    assert solution.converged
    assert residual(a, b, solution.x) < 1e-10


def test_zero_and_empty_right_hand_sides_need_no_step(solver: LinearSolver) -> None:
    for b in (torch.zeros(3, dtype=DOUBLE), torch.empty(0)):
        solution = solver.solve(system(torch.eye(len(b), dtype=b.dtype), b, damping=0.1))
        assert solution.converged
        assert (solution.iterations, solution.residual) == (0, 0.0)
        assert torch.equal(solution.x, b)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_are_never_called_converged(solver: LinearSolver, bad: float) -> None:
    b = torch.tensor([1.0, bad], dtype=DOUBLE)
    fine = LinearSystem(product=lambda v: 1.1 * v, b=b, damping=0.1)
    poisoned = LinearSystem(product=lambda v: v * bad, b=torch.ones(2, dtype=DOUBLE), damping=0.1)
    for each in (fine, poisoned):
        solution = solver.solve(each)
        assert math.isnan(solution.residual)
        assert not solution.converged


def test_a_guess_helps_or_is_ignored_and_is_never_written_to(solver: LinearSolver) -> None:
    a, b = spd(), normal(SIZE, seed=1)
    cold = solver.solve(system(a, b, damping=0.1))
    exact = torch.linalg.solve(a + 0.1 * torch.eye(SIZE, dtype=DOUBLE), b)
    guess = exact.clone()
    warm = solver.solve(system(a, b, damping=0.1), guess=guess)
    assert torch.equal(guess, exact)
    assert warm.iterations == {"exact": SIZE, "nystrom": SIZE}.get(solver.name, 0)
    bad = solver.solve(system(a, b, damping=0.1), guess=1e9 * normal(SIZE, seed=3))
    assert bad.iterations == cold.iterations
    assert torch.equal(bad.x, cold.x)


def test_memory_of_another_size_is_ignored_and_is_never_written_to(solver: LinearSolver) -> None:
    a, b = spd(), normal(SIZE, seed=1)
    first = solver.solve(system(a, b, damping=0.1))
    kept = {name: value.clone() for name, value in first.memory.items()}
    again = solver.solve(system(a, b, damping=0.1), memory=first.memory)
    assert again.converged
    assert all(torch.equal(first.memory[name], value) for name, value in kept.items())
    odd = {name: torch.ones(5, 2) for name in kept}
    assert torch.equal(solver.solve(system(a, b, damping=0.1), memory=odd).x, first.x)


def test_the_same_system_gives_the_same_bits(solver: LinearSolver) -> None:
    a, b = spd(), normal(SIZE, seed=1)
    first = solver.solve(system(a, b, damping=0.1))
    torch.rand(3)  # the global generator must not matter
    assert torch.equal(solver.solve(system(a, b, damping=0.1)).x, first.x)


def test_a_negative_eigenvalue_is_solved_or_reported(solver: LinearSolver) -> None:
    """Those that need a positive definite matrix say that it is not; the others solve."""
    diagonal = torch.linspace(0.5, 1.5, SIZE, dtype=DOUBLE)
    diagonal[0] = -0.5
    a, b = torch.diag(diagonal), normal(SIZE, seed=4)
    solution = solver.solve(system(a - 1e-3 * torch.eye(SIZE, dtype=DOUBLE), b, damping=1e-3))
    assert torch.isfinite(solution.x).all()
    if solver.symmetric_only:
        assert solution.breakdown
        assert not solution.converged
    elif solver.name == "fixed_point":
        assert solution.breakdown  # 1 - a has the eigenvalue 1.5
    else:
        assert residual(a, b, solution.x) < 1e-9


def test_a_singular_matrix_does_not_blow_up(solver: LinearSolver) -> None:
    root = normal(SIZE, 4, seed=5)
    a, b = root @ root.T / 100, normal(SIZE, seed=6)
    if solver.name == "nystrom":
        with pytest.raises(ConfigurationError, match="damping"):
            solver.solve(system(a, b))
        return
    solution = solver.solve(system(a, b))
    assert not solution.converged
    assert float(solution.x.norm()) < 1e6


def test_a_matrix_of_zeros_is_reported(solver: LinearSolver) -> None:
    b = normal(3, seed=6)
    solution = solver.solve(LinearSystem(product=torch.zeros_like, b=b, damping=1e-9))
    assert torch.isfinite(solution.x).all()
    assert not solution.converged
    if solver.name not in ("nystrom", "fixed_point"):
        assert solution.breakdown


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_settings_out_of_range_are_refused(name: str) -> None:
    for setting in dataclasses.fields(SOLVERS[name]):
        with pytest.raises(ConfigurationError, match=setting.name):
            make_solver(name, **{setting.name: -1})


def test_what_does_not_exist_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigurationError, match=r"'jacobi'.*cg"):
        make_solver("jacobi")
    with pytest.raises(ConfigurationError, match=r"'rank'.*steps"):
        make_solver("cg", rank=3)
    with pytest.raises(ConfigurationError, match="cannot be built"):
        make_solver("cg", steps="many")
