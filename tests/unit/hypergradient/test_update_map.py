"""Implicit differentiation of the problem's own update, which may not be symmetric."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, OuterParameterUnusedError, ProblemError
from chronos_common.hypergradient import ImplicitDifferentiation, make_estimator
from chronos_common.hypergradient.batch_means import Batches
from chronos_common.hypergradient.conditions import UpdateMap
from chronos_common.problem import Context, InnerProblem, InnerState, OuterParameter, Tensors
from tests.support.problems import DOUBLE, Quadratic, Ridge, normal, small_mlp

GENERAL = ["normal_cg", "gmres", "bicgstab", "fixed_point", "exact"]


def relative(value: Tensor, truth: Tensor) -> float:
    return float((value - truth).norm() / truth.norm())


class Momentum(Ridge):
    """Heavy ball with a preconditioner: the Jacobian of its step is far from symmetric."""

    scale = torch.linspace(0.05, 0.3, 8, dtype=DOUBLE)

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        zero = torch.zeros_like(self.start)
        return InnerState({"w": zero}, opt_state={"v": zero, "count": torch.tensor(0)})

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        v = 0.6 * inner.opt_state["v"] + grads["w"]
        count = inner.opt_state["count"] + 1
        return InnerState({"w": inner.params["w"] - self.scale * v}, opt_state={"v": v, "count": count})


def estimator(name: str) -> ImplicitDifferentiation:
    config = {"condition": "update"} if name in ("normal_cg", "exact") else {}
    steps = {} if name == "exact" else {"steps": 400}
    made = make_estimator(name, **config, **steps)
    assert isinstance(made, ImplicitDifferentiation)
    return made


@pytest.mark.parametrize("name", GENERAL)
def test_a_map_with_momentum_gives_the_closed_form(name: str) -> None:
    problem = Momentum()
    _, run = problem.solve(num_steps=2000)
    result = estimator(name).compute_hypergradient(run, problem)
    assert relative(result.gradient["decay"], problem.hypergradient(problem.start)) <= 1e-8
    assert result.diagnostics[f"{name}_converged"] == 1.0


def test_the_jacobian_and_its_transpose_belong_together() -> None:
    problem = Momentum()
    _, run = problem.solve(num_steps=3)
    system = UpdateMap(run, problem, batches=Batches()).system(damping=0.3, seed=0)
    size = len(system.b)
    assert size == 16, "θ and its velocity"
    assert system.transposed is not None
    units = torch.eye(size, dtype=DOUBLE)
    a = torch.stack([system.product(unit) for unit in units], dim=1)
    transposed = torch.stack([system.transposed(unit) for unit in units], dim=1)
    torch.testing.assert_close(a.T, transposed)
    assert relative(a, a.T) > 0.1
    hessian, scale = problem.hessian(problem.start), problem.scale.unsqueeze(1)
    jacobian = torch.eye(size, dtype=DOUBLE) * 0.0
    jacobian[:8, :8], jacobian[:8, 8:] = torch.eye(8) - scale * hessian, -0.6 * torch.diag(problem.scale)
    jacobian[8:, :8], jacobian[8:, 8:] = hessian, 0.6 * torch.eye(8)
    torch.testing.assert_close(a, 1.3 * torch.eye(size, dtype=DOUBLE) - jacobian.T)


def test_an_update_that_contains_lambda_is_followed() -> None:
    """The same penalty, once in the loss and once in the step as well, where the fixed point sees both."""

    class Decayed(Ridge):
        def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
            shrunk = grads["w"] + outer["decay"] * inner.params["w"]
            return InnerState({"w": inner.params["w"] - 0.1 * shrunk})

    problem, twice = Decayed(), Ridge()
    _, run = problem.solve(num_steps=2000)
    gradient = estimator("gmres").compute_hypergradient(run, problem).gradient["decay"]
    torch.testing.assert_close(gradient, 2 * twice.hypergradient(2 * twice.start), rtol=1e-7, atol=1e-9)


def test_a_learning_rate_is_refused_by_name() -> None:
    """At a fixed point its derivative is zero, and elsewhere it is noise."""
    problem = Quadratic()
    _, run = problem.solve(num_steps=3)
    for name in GENERAL:
        with pytest.raises(OuterParameterUnusedError, match=r"'rate'.*UnrolledDifferentiation"):
            estimator(name).compute_hypergradient(run, problem)


def test_an_update_that_cuts_the_graph_is_refused() -> None:
    class Cut(Ridge):
        def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
            return InnerState({"w": inner.params["w"] - 0.1 * grads["w"].detach()})

    class Forgets(Ridge):
        def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
            return InnerState({"w": inner.params["w"].detach() - 0.1 * grads["w"]})

    for problem, error in ((Cut(), OuterParameterUnusedError), (Forgets(), ProblemError)):
        _, run = problem.solve(num_steps=3)
        with pytest.raises(error, match="cuts the graph"):
            estimator("gmres").compute_hypergradient(run, problem)


def test_an_update_that_runs_away_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    class Fast(Ridge):
        inner_learning_rate = 3.0

    problem = Fast()
    _, run = problem.solve(init=problem.solution(problem.start), num_steps=0)
    result = estimator("fixed_point").compute_hypergradient(run, problem)
    assert result.diagnostics["fixed_point_nonpositive_curvature"] == 1.0
    assert "does not contract" in caplog.text
    exact = estimator("gmres").compute_hypergradient(run, problem)
    assert relative(exact.gradient["decay"], problem.hypergradient(problem.start)) <= 1e-8


def test_buffers_are_constants_and_several_tensors_and_dtypes_are_one_vector() -> None:
    class Mixed(InnerProblem):
        def outer_parameters(self) -> dict[str, OuterParameter]:
            return {"decay": OuterParameter(torch.tensor(0.5, dtype=DOUBLE))}

        def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
            params = {"a": torch.ones(2, 2), "b": torch.tensor(1.0, dtype=DOUBLE), "idle": torch.ones(3)}
            return InnerState(params, {"shift": normal(2, 2, seed=1)})

        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            a, b = inner.params["a"].double(), inner.params["b"]
            fit = (a - inner.buffers["shift"]).square().sum() + (b - a.mean()).square()
            return fit + outer["decay"] * b.square()

        def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return (inner.params["b"] - 1.9).square()

    problem = Mixed()
    _, run = problem.solve(num_steps=600)
    truth = make_estimator("implicit", damping=0.0, cg_steps=30).compute_hypergradient(run, problem)
    found = make_estimator("gmres", tolerance=1e-6).compute_hypergradient(run, problem)
    torch.testing.assert_close(found.gradient, truth.gradient, rtol=1e-5, atol=0)


def test_combinations_that_cannot_work_are_refused() -> None:
    for config, words in (
        ({"solver": "cg", "condition": "update"}, "symmetric.*gmres"),
        ({"solver": "nystrom", "condition": "update"}, "symmetric"),
        ({"solver": "fixed_point"}, "condition='update'"),
        ({"solver": "gmres", "condition": "fixed"}, r"'fixed'.*stationarity.*update"),
        ({"solver": "gmres", "condition": "update", "inner_batches": 2}, "inner_batches"),
        ({"solver": "gmres", "cg_steps": 3}, "cg_steps"),
        ({"solver": "nystrom", "damping": 0.0}, "damping"),
        ({"inner_batches": 0}, "inner_batches"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            ImplicitDifferentiation(**config)  # type: ignore[arg-type]
    problem = small_mlp()
    _, run = problem.solve(num_steps=1)
    with pytest.raises(ConfigurationError, match="max_size"):
        make_estimator("exact", max_size=30).compute_hypergradient(run, problem)
