"""Both estimators against the closed form of ridge regression and against finite differences."""

from __future__ import annotations

import pytest
import torch

from chronos_common.hypergradient import ImplicitDifferentiation, UnrolledDifferentiation
from tests.support.problems import Quadratic, Ridge, central_differences, small_mlp, solved_loss

pytestmark = pytest.mark.numerical


def relative_error(value: torch.Tensor, truth: torch.Tensor) -> float:
    return float((value - truth).norm() / truth.norm())


@pytest.mark.parametrize("features", [1, 8, 60])
def test_conjugate_gradient_gives_the_exact_hypergradient_at_the_exact_solution(features: int) -> None:
    ridge = Ridge(features)
    _, run = ridge.solve(init=ridge.solution(ridge.start), num_steps=0)

    w = run.final.params["w"].clone().requires_grad_()
    loss = ridge.inner_loss(type(run.final)({"w": w}), run.outer, None, run.ctx)
    assert float(torch.autograd.grad(loss, w)[0].norm()) <= 1e-10

    estimator = ImplicitDifferentiation(cg_steps=4 * features + 10, damping=0.0, tolerance=1e-13)
    result = estimator.compute_hypergradient(run, ridge)
    assert relative_error(result.gradient["decay"], ridge.hypergradient(ridge.start)) <= 1e-8
    assert result.diagnostics["cg_converged"] == 1.0


def test_unrolling_gives_the_exact_hypergradient_of_a_converged_loop() -> None:
    ridge = Ridge(8)
    eigenvalues = torch.linalg.eigvalsh(ridge.hessian(ridge.start))
    contraction = float((1 - ridge.inner_learning_rate * eigenvalues).abs().max())
    steps = 600
    assert contraction**steps < 1e-7
    _, run = ridge.solve(num_steps=steps)
    result = UnrolledDifferentiation().compute_hypergradient(run, ridge)
    assert relative_error(result.gradient["decay"], ridge.hypergradient(ridge.start)) <= 1e-6
    assert result.diagnostics["replay_error"] == 0.0


def test_damping_biases_the_result_towards_a_stiffer_problem() -> None:
    ridge = Ridge(8)
    _, run = ridge.solve(init=ridge.solution(ridge.start), num_steps=0)
    w = run.final.params["w"]
    slope = ridge.x_val.T @ (ridge.x_val @ w - ridge.y_val) / len(ridge.x_val)
    damped = -w * torch.linalg.solve(ridge.hessian(ridge.start) + 0.5 * torch.eye(8, dtype=w.dtype), slope)
    result = ImplicitDifferentiation(cg_steps=50, damping=0.5).compute_hypergradient(run, ridge)
    assert relative_error(result.gradient["decay"], damped) <= 1e-8


@pytest.mark.parametrize("estimator", ["implicit", "unrolled"])
def test_a_small_network_agrees_with_central_differences(estimator: str) -> None:
    """Not convex, but regularised so that it converges."""
    mlp = small_mlp()
    solved, _ = mlp.solve(num_steps=1000)
    _, run = mlp.solve(init=solved, num_steps=250)
    truth = central_differences(solved_loss(mlp, 250, init=solved), run.outer)["decay"]
    chosen = (
        ImplicitDifferentiation(cg_steps=100, damping=0.0, tolerance=1e-12)
        if estimator == "implicit"
        else UnrolledDifferentiation()
    )
    gradient = chosen.compute_hypergradient(run, mlp).gradient["decay"]
    assert relative_error(gradient, truth) <= 1e-4
    assert float(truth.norm()) > 1e-3


def test_unrolling_through_few_steps_is_the_derivative_of_what_was_computed() -> None:
    """Learning rate, momentum and weight decay at once, far from convergence."""
    problem = Quadratic(4)
    _, run = problem.solve(num_steps=7)
    truth = central_differences(solved_loss(problem, 7), run.outer)
    gradient = UnrolledDifferentiation().compute_hypergradient(run, problem).gradient
    for name, expected in truth.items():
        assert relative_error(gradient[name], expected) <= 1e-7, name
        assert float(expected.norm()) > 1e-4


def test_float32_is_as_good_as_float32_can_be() -> None:
    ridge = Ridge(8, dtype=torch.float32)
    exact = Ridge(8).hypergradient(ridge.start.double())
    _, run = ridge.solve(init=ridge.solution(ridge.start), num_steps=0)
    estimator = ImplicitDifferentiation(cg_steps=50, damping=0.0)
    result = estimator.compute_hypergradient(run, ridge)
    assert result.gradient["decay"].dtype == torch.float32
    assert relative_error(result.gradient["decay"].double(), exact) <= 1e-4
    assert result.diagnostics["cg_converged"] == 1.0
