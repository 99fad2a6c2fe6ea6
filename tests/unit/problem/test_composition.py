from __future__ import annotations

import pytest
import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.hypergradient import ImplicitDifferentiation, UnrolledDifferentiation
from chronos_common.problem import Context, InnerState, Tensors, solution
from examples.three_levels import TiedDecay
from tests.support.problems import Ridge, central_differences, normal, small_mlp


def upper_loss(problem: TiedDecay, outer: Tensors) -> float:
    """Level 3 at λ: level 1 by its normal equations, level 2 by Newton's method on them."""

    def w(log_decay: Tensor) -> Tensor:
        x, y = problem.lower.x, problem.lower.y
        solved: Tensor = torch.linalg.solve(x.T @ x / len(x) + torch.diag(log_decay.exp()), x.T @ y / len(x))
        return solved

    def middle(log_decay: Tensor) -> Tensor:
        error = (problem.lower.x_validation @ w(log_decay) - problem.lower.y_validation).square().mean() / 2
        tie = (log_decay - outer["centre"]).square().sum()
        return error + outer["log_strength"].exp() / 2 * tie

    log_decay = torch.full_like(problem.lower.start, -2.0)
    for _ in range(8):
        at = log_decay.detach().requires_grad_()
        (slope,) = torch.autograd.grad(middle(at), at, create_graph=True)
        rows = [torch.autograd.grad(each, at, retain_graph=True)[0] for each in slope]
        log_decay = (at - torch.linalg.solve(torch.stack(rows), slope)).detach()
    error = problem.lower.x_upper @ w(log_decay) - problem.lower.y_upper
    return float(error.square().mean() / 2)


@pytest.mark.parametrize("estimator", [ImplicitDifferentiation(damping=0.0), UnrolledDifferentiation()])
def test_three_levels_are_differentiated_through_both_lower_ones(
    estimator: ImplicitDifferentiation | UnrolledDifferentiation,
) -> None:
    problem = TiedDecay(features=3)
    _, run = problem.solve(num_steps=30)
    truth = central_differences(lambda outer: upper_loss(problem, outer), run.outer)
    found = estimator.compute_hypergradient(run, problem)
    assert found.diagnostics["outer_loss"] == pytest.approx(upper_loss(problem, run.outer), rel=1e-8)
    torch.testing.assert_close(found.gradient, truth, rtol=1e-4, atol=1e-9)


def test_a_solution_is_that_of_solve() -> None:
    problem = small_mlp()
    outer = {name: declared.tensor() for name, declared in problem.outer_parameters().items()}
    solved, _ = problem.solve(outer, num_steps=5)
    found = solution(problem, outer, num_steps=5)
    torch.testing.assert_close(found.to_tensors(), solved.to_tensors(), rtol=0.0, atol=0.0)
    further = solution(problem, outer, num_steps=2, init=found)
    assert not torch.equal(further.params["0.weight"], found.params["0.weight"])


def test_a_solution_has_first_and_second_derivatives() -> None:
    problem = Ridge(3)
    start = problem.start.clone().requires_grad_()

    def loss(decay: Tensor) -> Tensor:
        return solution(problem, {"decay": decay}, num_steps=6).params["w"].square().sum()

    assert torch.autograd.gradcheck(loss, (start,))
    assert torch.autograd.gradgradcheck(loss, (start,))


def test_a_solution_keeps_the_graph_to_where_it_began() -> None:
    problem = Ridge(3)
    begin = normal(3, seed=1).requires_grad_()
    found = solution(problem, {"decay": problem.start}, num_steps=2, init=InnerState({"w": begin}))
    assert bool((torch.autograd.grad(found.params["w"].sum(), begin)[0] != 0).all())
    with torch.no_grad():
        assert not solution(problem, {"decay": problem.start}, num_steps=2).params["w"].requires_grad


def test_the_lower_level_draws_from_the_address_of_the_call() -> None:
    """Other steps and streams of the caller are other random numbers below; the same address gives the same."""
    seeds = []

    class Listening(Ridge):
        def inner_batch(self, step: int, ctx: Context) -> None:
            seeds.append(ctx.stream_seed)

    problem = Listening(3)
    caller = Context(seed=3, step=4, stream="inner_loss")
    for ctx in (caller, caller, caller.at(step=5), caller.at(stream="outer_loss")):
        solution(problem, {"decay": problem.start}, num_steps=1, ctx=ctx)
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 3


def test_wrong_arguments_are_refused() -> None:
    problem = Ridge(3)
    with pytest.raises(ProblemError, match="decay"):
        solution(problem, {"decay": torch.ones(2, dtype=torch.float64)}, num_steps=1)
    with pytest.raises(ConfigurationError, match="num_steps is -1"):
        solution(problem, {"decay": problem.start}, num_steps=-1)
