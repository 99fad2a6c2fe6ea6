from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from chronos_common.errors import (
    ConfigurationError,
    DivergenceError,
    OuterParameterUnusedError,
    ProblemError,
)
from chronos_common.hypergradient import ImplicitDifferentiation
from chronos_common.problem import Context, InnerProblem, InnerState, OuterParameter, Task, Tensors
from tests.support.problems import DOUBLE, Quadratic, Ridge


def test_a_learning_rate_is_refused_by_name_and_pointed_at_unrolling() -> None:
    problem = Quadratic()
    _, run = problem.solve(num_steps=3)
    with pytest.raises(OuterParameterUnusedError, match=r"'rate'.*UnrolledDifferentiation"):
        ImplicitDifferentiation().compute_hypergradient(run, problem)


def test_a_parameter_of_one_task_only_is_used() -> None:
    class TwoDecays(Ridge):
        def outer_parameters(self) -> Mapping[str, OuterParameter]:
            return {"a": OuterParameter(self.start), "b": OuterParameter(self.start)}

        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return super().inner_loss(inner, {"decay": outer[ctx.task.name]}, batch, ctx)

    problem, estimator = TwoDecays(), ImplicitDifferentiation()
    runs = [
        problem.solve(num_steps=50, ctx=Context(task=Task(index=i, name=name)))[1]
        for i, name in enumerate("ab")
    ]
    gradient = estimator.compute_hypergradient(runs, problem).gradient
    torch.testing.assert_close(gradient["a"], gradient["b"])
    assert float(gradient["a"].norm()) > 0
    with pytest.raises(OuterParameterUnusedError, match="'b'"):
        estimator.compute_hypergradient(runs[0], problem)


def test_a_warm_start_saves_iterations_and_gives_the_same_answer() -> None:
    problem = Ridge(30)
    estimator = ImplicitDifferentiation(cg_steps=200, damping=0.0, tolerance=1e-6)
    _, run = problem.solve(init=problem.solution(problem.start), num_steps=0)
    first = estimator.compute_hypergradient(run, problem)
    moved = problem.start * 1.001
    _, run = problem.solve({"decay": moved}, problem.solution(moved), 0)
    cold = estimator.compute_hypergradient(run, problem)
    warm = estimator.compute_hypergradient(run, problem, first.state)
    assert warm.diagnostics["cg_iterations"] < 0.7 * cold.diagnostics["cg_iterations"]
    torch.testing.assert_close(warm.gradient, cold.gradient, rtol=1e-4, atol=1e-6)


def test_warm_starts_are_kept_per_task_and_can_be_switched_off() -> None:
    problem = Ridge()
    runs = [problem.solve(num_steps=9, ctx=Context(task=Task(index=i, name=f"t{i}")))[1] for i in range(2)]
    result = ImplicitDifferentiation().compute_hypergradient(runs, problem)
    assert sorted(result.state) == ["t0/v", "t1/v"]
    only = ImplicitDifferentiation().compute_hypergradient(runs[0], problem, result.state)
    assert sorted(only.state) == ["t0/v", "t1/v"], "the other task's warm start was forgotten"
    assert ImplicitDifferentiation(warm_start=False).compute_hypergradient(runs, problem).state == {}


def test_a_warm_start_of_another_size_is_ignored() -> None:
    problem = Ridge()
    _, run = problem.solve(num_steps=9)
    estimator = ImplicitDifferentiation()
    cold = estimator.compute_hypergradient(run, problem)
    odd = estimator.compute_hypergradient(run, problem, {"main/v": torch.ones(3)})
    assert torch.equal(cold.gradient["decay"], odd.gradient["decay"])


class Saddle(Ridge):
    """Its inner Hessian is negative definite."""

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return -super().inner_loss(inner, outer, batch, ctx)


def test_negative_curvature_is_reported_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    problem = Saddle()
    _, run = problem.solve(num_steps=1)
    with caplog.at_level(logging.WARNING):
        result = ImplicitDifferentiation().compute_hypergradient(run, problem)
    assert result.diagnostics["cg_nonpositive_curvature"] == 1.0
    assert result.diagnostics["cg_converged"] == 0.0
    assert "damping" in caplog.text
    enough = ImplicitDifferentiation(damping=1e3).compute_hypergradient(run, problem)
    assert enough.diagnostics["cg_nonpositive_curvature"] == 0.0


def test_several_tensors_of_several_dtypes_and_an_unused_one() -> None:
    class Mixed(InnerProblem):
        def outer_parameters(self) -> Mapping[str, float | Tensor]:
            return {"decay": torch.tensor(0.5, dtype=DOUBLE)}

        def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
            return InnerState(
                {"a": torch.ones(2, 2), "b": torch.tensor(1.0, dtype=DOUBLE), "idle": torch.ones(3)}
            )

        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            a, b = inner.params["a"].double(), inner.params["b"]
            return (a - 2).square().sum() + (b - a.mean()).square() + outer["decay"] * b.square()

        def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return (inner.params["b"] - 1.9).square()

    problem = Mixed()
    _, run = problem.solve(num_steps=400)
    result = ImplicitDifferentiation(cg_steps=30, damping=0.0).compute_hypergradient(run, problem)
    moved = [float(problem.solve({"decay": 0.5 + d}, num_steps=400)[0].params["b"]) for d in (1e-3, -1e-3)]
    expected = ((moved[0] - 1.9) ** 2 - (moved[1] - 1.9) ** 2) / 2e-3
    assert float(result.gradient["decay"]) == pytest.approx(expected, rel=1e-3)


def test_a_loss_linear_in_theta_has_no_curvature() -> None:
    class Linear(Ridge):
        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return inner.params["w"].sum() + outer["decay"].sum()

    problem = Linear()
    _, run = problem.solve(num_steps=1)
    result = ImplicitDifferentiation(damping=0.0).compute_hypergradient(run, problem)
    assert result.diagnostics["cg_nonpositive_curvature"] == 1.0
    assert torch.equal(result.gradient["decay"], torch.zeros_like(problem.start))


def test_the_direct_derivative_of_the_outer_loss_counts() -> None:
    class Direct(Ridge):
        def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return super().outer_loss(inner, outer, batch, ctx) + 3 * outer["decay"].sum()

    problem = Direct()
    _, run = problem.solve(init=problem.solution(problem.start), num_steps=0)
    gradient = ImplicitDifferentiation(cg_steps=50, damping=0.0).compute_hypergradient(run, problem).gradient
    torch.testing.assert_close(gradient["decay"], problem.hypergradient(problem.start) + 3)


def test_losses_that_depend_on_nothing_are_refused() -> None:
    class Constant(Ridge):
        def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return torch.tensor(1.0)

    problem = Constant()
    _, run = problem.solve(num_steps=1)
    with pytest.raises(ProblemError, match="outer_loss depends neither"):
        ImplicitDifferentiation().compute_hypergradient(run, problem)


def test_second_derivatives_that_are_not_finite_raise() -> None:
    class Kink(Ridge):
        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return super().inner_loss(inner, outer, batch, ctx) + (0 * inner.params["w"]).abs().pow(1.5).sum()

    problem = Kink()
    _, run = problem.solve(num_steps=1)
    with pytest.raises(DivergenceError, match="second derivatives"):
        ImplicitDifferentiation().compute_hypergradient(run, problem)


@pytest.mark.parametrize("bad", [{"cg_steps": 0}, {"damping": -1.0}, {"tolerance": float("nan")}])
def test_values_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(bad))):
        ImplicitDifferentiation(**bad)  # type: ignore[arg-type]
