"""First-order estimators: their errors fall as their docstrings say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.hypergradient import BOME, F2SA, SAMA, FiniteDifference, make_estimator
from chronos_common.problem import Context, InnerProblem, InnerState, OuterParameter, Tensors
from tests.support.problems import DOUBLE, Quadratic, Ridge, small_mlp


class Rate(Ridge):
    """The learning rate is a parameter, by a rule that scales gradients as Adam does."""

    def outer_parameters(self) -> dict[str, OuterParameter]:
        return {**super().outer_parameters(), "rate": OuterParameter(torch.tensor(0.1, dtype=DOUBLE))}

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        g = grads["w"]
        return InnerState({"w": inner.params["w"] - outer["rate"] * g / (g.square() + 0.1).sqrt()})


def one_step(problem: InnerProblem, run_steps: int = 4) -> tuple[Tensors, Tensors]:
    """What SAMA approximates, with second derivatives: (∂θ⁺/∂λ)ᵀ ∂L_out/∂θ at the old θ."""
    final, run = problem.solve(num_steps=run_steps)
    outer = {k: v.clone().requires_grad_() for k, v in run.outer.items()}
    theta = {k: v.clone().requires_grad_() for k, v in final.params.items()}
    ctx = run.ctx.at(step=run.end_step)
    batch = problem.inner_batch(run.end_step, ctx)
    loss = problem.inner_loss(InnerState(theta), outer, batch, ctx)
    value = loss[0] if isinstance(loss, tuple) else loss
    grads = torch.autograd.grad(value, tuple(theta.values()), create_graph=True)
    moved = problem.inner_update(
        InnerState(final.params), dict(zip(theta, grads, strict=True)), outer, ctx
    ).params
    slope = torch.autograd.grad(
        problem.outer_loss(InnerState(theta), outer, problem.outer_batch(run.end_step, ctx), ctx),
        tuple(theta.values()),
    )
    images = [moved[k] for k in theta]
    return dict(zip(outer, torch.autograd.grad(images, tuple(outer.values()), slope), strict=True)), run.outer


def distance(one: Tensors, other: Tensors) -> float:
    return sum(float((v - other[k]).norm()) for k, v in one.items())


@pytest.mark.parametrize("problem", [small_mlp(), Rate()], ids=["network", "rate"])
def test_sama_is_one_step_up_to_the_square_of_the_radius(problem: InnerProblem) -> None:
    truth, _ = one_step(problem)
    _, run = problem.solve(num_steps=4)
    errors = [
        distance(SAMA(radius=radius).compute_hypergradient(run, problem).gradient, truth)
        for radius in (0.4, 0.2, 0.1)
    ]
    size = sum(float(v.norm()) for v in truth.values())
    assert errors[0] < 0.1 * size
    if errors[0] > 1e-9 * size:  # linear in θ: no error at all
        assert 3.0 < errors[0] / errors[1] < 5.0
        assert 3.0 < errors[1] / errors[2] < 5.0


def test_the_finite_difference_converges_to_one_step_of_conjugate_gradient() -> None:
    problem = small_mlp()
    _, run = problem.solve(num_steps=50)
    one = make_estimator("implicit", cg_steps=1, damping=0.0).compute_hypergradient(run, problem).gradient
    errors = [
        distance(FiniteDifference(radius=radius).compute_hypergradient(run, problem).gradient, one)
        for radius in (0.1, 0.05, 0.025)
    ]
    assert 3.0 < errors[0] / errors[1] < 5.0
    assert 3.0 < errors[1] / errors[2] < 5.0


def test_a_step_size_of_ones_own_is_taken() -> None:
    problem = Ridge()
    _, run = problem.solve(num_steps=100)
    gradients = [
        FiniteDifference(step_size=step).compute_hypergradient(run, problem).gradient["decay"]
        for step in (0.1, 0.2)
    ]
    torch.testing.assert_close(2 * gradients[0], gradients[1])


def test_f2sa_is_exact_up_to_one_over_the_penalty() -> None:
    problem = Ridge()
    _, run = problem.solve(init=problem.solution(problem.start), num_steps=0)
    truth = problem.hypergradient(problem.start)
    errors = []
    for penalty in (20.0, 40.0, 80.0):
        gradient = F2SA(penalty=penalty, steps=200).compute_hypergradient(run, problem).gradient["decay"]
        errors.append(float((gradient - truth).norm()))
    assert 1.8 < errors[0] / errors[1] < 2.2
    assert 1.8 < errors[1] / errors[2] < 2.2


@pytest.mark.parametrize("name", ["f2sa", "bome"])
def test_what_one_call_solved_the_next_goes_on_from(name: str) -> None:
    problem = Ridge()
    _, run = problem.solve(init=problem.solution(problem.start), num_steps=0)
    truth, state, errors = problem.hypergradient(problem.start), None, []
    for _ in range(4):
        result = make_estimator(name, steps=3).compute_hypergradient(run, problem, state)
        state = result.state
        errors.append(float((result.gradient["decay"] - truth).norm()))
    assert errors[3] < 0.3 * errors[0]
    cold = make_estimator(name, steps=3, warm_start=False).compute_hypergradient(run, problem)
    assert cold.state == {}


@pytest.mark.parametrize("name", ["finite_difference", "f2sa", "bome"])
def test_a_learning_rate_is_out_of_reach_and_named(name: str) -> None:
    problem = Quadratic(4)
    _, run = problem.solve(num_steps=4)
    with pytest.raises(ProblemError, match=r"'rate'.*UnrolledDifferentiation"):
        make_estimator(name).compute_hypergradient(run, problem)


def test_sama_needs_a_rule_with_a_graph() -> None:
    class Cut(Ridge):
        def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
            return InnerState({"w": inner.params["w"] - 0.1 * grads["w"].detach()})

    problem = Cut()
    _, run = problem.solve(num_steps=2)
    with pytest.raises(ProblemError, match="without a graph to the gradients"):
        SAMA().compute_hypergradient(run, problem)


@pytest.mark.parametrize(
    "build",
    [
        lambda: FiniteDifference(step_size=0.0),
        lambda: FiniteDifference(radius=0.0),
        lambda: SAMA(radius=-1.0),
        lambda: F2SA(penalty=0.0),
        lambda: F2SA(steps=0),
        lambda: BOME(pace=0.0),
        lambda: BOME(steps=0),
    ],
)
def test_settings_out_of_range_are_refused(build: object) -> None:
    with pytest.raises(ConfigurationError):
        build()  # type: ignore[operator]


def test_a_flat_inner_loss_needs_a_step_size() -> None:
    class Linear(Ridge):
        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return (inner.params["w"] * outer["decay"]).sum()

    problem = Linear()
    _, run = problem.solve(num_steps=1)
    with pytest.raises(ConfigurationError, match="set step_size"):
        FiniteDifference(radius=1.0).compute_hypergradient(run, problem)
    gradient = FiniteDifference(step_size=0.1).compute_hypergradient(run, problem).gradient["decay"]
    assert float(gradient.norm()) > 0.0
