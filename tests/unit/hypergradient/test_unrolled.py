from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from chronos_common.errors import ConfigurationError, OuterParameterUnusedError, ProblemError
from chronos_common.hypergradient import UnrolledDifferentiation
from chronos_common.problem import Context, InnerState, ModuleProblem, OuterParameter, Tensors
from tests.support.problems import (
    DOUBLE,
    Quadratic,
    Ridge,
    central_differences,
    classes,
    normal,
    small_mlp,
    solved_loss,
)

pytestmark = pytest.mark.numerical


class Meta(Ridge):
    """MAML whose inner loss contains λ too: it is where θ starts, and a force on it."""

    def outer_parameters(self) -> Mapping[str, OuterParameter]:
        return {"start": OuterParameter(self.start)}

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"w": outer["start"]})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        w = inner.params["w"]
        return (self.x @ w - self.y).square().mean() / 2 + (w * outer["start"]).sum()


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_meta_initialisation_is_differentiated_through_where_theta_starts(steps: int) -> None:
    """At step 0 θ is λ itself: the inner gradient must still be the one by θ alone."""
    problem = Meta(4)
    _, run = problem.solve(num_steps=steps)
    truth = central_differences(solved_loss(problem, steps), run.outer)
    result = UnrolledDifferentiation().compute_hypergradient(run, problem)
    torch.testing.assert_close(result.gradient, truth, rtol=1e-6, atol=1e-8)
    assert result.diagnostics["replay_error"] == 0.0


def test_a_warm_start_is_a_constant() -> None:
    problem = Meta(4)
    init = InnerState({"w": normal(4, seed=7)})
    _, run = problem.solve(init=init, num_steps=3)
    truth = central_differences(solved_loss(problem, 3, init), run.outer)
    gradient = UnrolledDifferentiation().compute_hypergradient(run, problem).gradient
    torch.testing.assert_close(gradient, truth, rtol=1e-6, atol=1e-8)


def by_hand(problem: Quadratic, outer: Tensors, state: InnerState, steps: int) -> Tensor:
    """The last ``steps`` updates written out, and the outer loss."""
    w, v = state.params["w"], state.opt_state["v"]
    for _ in range(steps):
        residual = problem.x @ w - problem.y
        g = problem.x.T @ residual / len(problem.x) + outer["decay"] * w
        v = outer["momentum"] * v + g
        w = w - outer["rate"] * v
    return (problem.x_val @ w - problem.y_val).square().mean() / 2


@pytest.mark.parametrize("keep", [0, 4, 7])
def test_truncation_is_the_derivative_through_the_last_steps(keep: int) -> None:
    problem, estimator = Quadratic(5), UnrolledDifferentiation(truncation=4)
    before, _ = problem.solve(num_steps=6)
    _, run = problem.solve(num_steps=10, keep_last=keep)
    outer = {k: v.clone().requires_grad_() for k, v in run.outer.items()}
    expected = torch.autograd.grad(by_hand(problem, outer, before, 4), tuple(outer.values()))
    result = estimator.compute_hypergradient(run, problem)
    for name, value in zip(outer, expected, strict=True):
        torch.testing.assert_close(result.gradient[name], value, rtol=1e-10, atol=1e-14)
    assert result.diagnostics["unrolled_steps"] == 4.0
    assert result.diagnostics["replay_error"] == 0.0


def test_a_truncation_beyond_the_loop_is_full() -> None:
    problem = Meta(4)
    _, run = problem.solve(num_steps=3)
    full = UnrolledDifferentiation().compute_hypergradient(run, problem).gradient
    long = UnrolledDifferentiation(truncation=9).compute_hypergradient(run, problem).gradient
    assert torch.equal(full["start"], long["start"])


def test_a_starting_point_that_truncation_does_not_reach_is_an_error() -> None:
    class StartOnly(Meta):
        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return (self.x @ inner.params["w"] - self.y).square().mean()

    problem = StartOnly(4)
    _, run = problem.solve(num_steps=3)
    assert UnrolledDifferentiation().compute_hypergradient(run, problem).gradient["start"].norm() > 0
    with pytest.raises(OuterParameterUnusedError, match="'start'"):
        UnrolledDifferentiation(truncation=2).compute_hypergradient(run, problem)


def test_the_learning_rate_and_momentum_of_a_module_problem() -> None:
    problem = small_mlp(
        outer={
            "rate": OuterParameter(torch.tensor(0.3, dtype=DOUBLE), scale="log"),
            "momentum": torch.tensor(0.6, dtype=DOUBLE),
        },
        regulariser=None,
        learning_rate="rate",
        momentum="momentum",
        batch_size=7,
    )
    _, run = problem.solve(num_steps=6)
    truth = central_differences(solved_loss(problem, 6), run.outer)
    result = UnrolledDifferentiation().compute_hypergradient(run, problem)
    torch.testing.assert_close(result.gradient, truth, rtol=1e-6, atol=1e-9)
    assert result.diagnostics["replay_error"] == 0.0


def test_dropout_and_mini_batches_are_replayed_exactly() -> None:
    module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 3)).double()
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=i))
    noisy = ModuleProblem(
        module,
        classes(30, seed=1),
        classes(20, seed=2),
        outer={"logits": torch.zeros(30, dtype=DOUBLE)},
        sample_weights=lambda outer, positions: torch.sigmoid(outer["logits"][positions]),
        batch_size=4,
    )
    _, run = noisy.solve(num_steps=8)
    result = UnrolledDifferentiation().compute_hypergradient(run, noisy)
    assert result.diagnostics["replay_error"] == 0.0
    truth = central_differences(solved_loss(noisy, 8), run.outer)
    torch.testing.assert_close(result.gradient, truth, rtol=1e-5, atol=1e-9)


def test_randomness_from_elsewhere_shows_in_the_replay_error_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Careless(Ridge):
        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return super().inner_loss(inner, outer, batch, ctx) * torch.rand(())

    problem = Careless()
    _, run = problem.solve(num_steps=5)
    estimator = UnrolledDifferentiation()
    for _ in range(2):
        result = estimator.compute_hypergradient(run, problem)
        assert result.diagnostics["replay_error"] > 1e-6
    (warning,) = caplog.messages
    assert "ctx.generator" in warning
    assert "replayed" in warning


def test_an_exact_replay_is_not_talked_about(caplog: pytest.LogCaptureFixture) -> None:
    problem = Ridge(dtype=torch.float32)
    _, run = problem.solve(num_steps=30)
    UnrolledDifferentiation().compute_hypergradient(run, problem)
    assert not caplog.messages


def test_a_loop_that_was_stopped_early_is_differentiated_as_far_as_it_went() -> None:
    problem, calls = Ridge(), iter([False, False, True])
    _, run = problem.solve(num_steps=50, should_stop=lambda: next(calls))
    result = UnrolledDifferentiation().compute_hypergradient(run, problem)
    assert result.diagnostics["unrolled_steps"] == 3.0
    _, short = problem.solve(num_steps=3)
    expected = UnrolledDifferentiation().compute_hypergradient(short, problem).gradient["decay"]
    assert torch.equal(result.gradient["decay"], expected)


def test_an_outer_loss_that_depends_on_nothing_is_refused() -> None:
    class Constant(Ridge):
        def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return torch.tensor(1.0)

    problem = Constant()
    _, run = problem.solve(num_steps=1)
    with pytest.raises(ProblemError, match="outer_loss depends neither"):
        UnrolledDifferentiation().compute_hypergradient(run, problem)


def test_truncation_must_be_positive() -> None:
    with pytest.raises(ConfigurationError, match="truncation"):
        UnrolledDifferentiation(truncation=0)
