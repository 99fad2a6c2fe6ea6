"""Update rules that cut the graph, and those that only look as if they did."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from chronos_common.errors import OuterParameterUnusedError, ProblemError
from chronos_common.hypergradient import HypergradientResult, UnrolledDifferentiation
from chronos_common.problem import Context, InnerState, OuterParameter, Tensors
from tests.support.problems import DOUBLE, Ridge, central_differences, normal, solved_loss

Rule = Callable[[Tensor, Tensor], Tensor]
RATE = 0.2


class Ruled(Ridge):
    """Ridge with an update rule of the test's own, (w, g) -> w."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(features=4)
        self.rule = rule

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"w": normal(4, seed=9)})

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"w": self.rule(inner.params["w"], grads["w"])})


def differentiate(problem: Ridge, steps: int = 4, truncation: int | None = None) -> HypergradientResult:
    _, run = problem.solve(num_steps=steps)
    return UnrolledDifferentiation(truncation=truncation).compute_hypergradient(run, problem)


def without_grad(w: Tensor, g: Tensor) -> Tensor:
    with torch.no_grad():
        return w - RATE * g


CUTS: Mapping[str, Rule] = {
    "result": lambda w, g: (w - RATE * g).detach(),
    "gradient": lambda w, g: w - RATE * g.detach(),
    "data": lambda w, g: (w.data - RATE * g.data).clone(),
    "no_grad": without_grad,
    "numbers": lambda w, g: w - RATE * torch.tensor(g.tolist(), dtype=w.dtype),
}


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("truncation", [None, 1])
@pytest.mark.parametrize("name", sorted(CUTS))
def test_a_rule_that_cuts_the_graph_is_named_with_the_parameter_it_loses(
    name: str, truncation: int | None, steps: int
) -> None:
    with pytest.raises(OuterParameterUnusedError, match=r"inner_update cuts .* 'decay'") as caught:
        differentiate(Ruled(CUTS[name]), steps, truncation)
    assert caught.value.details == {"name": "decay"}
    assert "no_grad" in str(caught.value)


def test_a_parameter_that_the_outer_loss_contains_too_is_not_half_lost() -> None:
    """Its hypergradient would be neither missing nor zero, only wrong."""

    class Both(Ruled):
        def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return super().outer_loss(inner, outer, batch, ctx) + outer["decay"].sum()

    with pytest.raises(OuterParameterUnusedError, match="'decay'"):
        differentiate(Both(CUTS["gradient"]))


def test_one_cut_inner_parameter_of_several_is_named() -> None:
    class Two(Ridge):
        def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
            return InnerState({"w": normal(8, seed=1), "bias": torch.zeros((), dtype=DOUBLE)})

        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            penalty = (inner.params["bias"] - 1.0).square() * outer["decay"].sum()
            return super().inner_loss(inner, outer, batch, ctx) + penalty

        def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
            updated = super().inner_update(inner, grads, outer, ctx).params
            return InnerState(updated | {"bias": updated["bias"].detach()})

    with pytest.raises(OuterParameterUnusedError, match=r"params\['bias'\]"):
        differentiate(Two())


def test_a_rule_that_forgets_the_old_theta_is_refused_where_steps_lie_before() -> None:
    rule: Rule = lambda w, g: w.detach() - RATE * g  # noqa: E731
    with pytest.raises(ProblemError, match=r"inner_update cuts .*'decay'.*truncation=1"):
        differentiate(Ruled(rule))
    assert differentiate(Ruled(rule), truncation=1).gradient["decay"].norm() > 0


class Start(Ruled):
    """MAML: λ is where θ starts, and nothing else."""

    def outer_parameters(self) -> Mapping[str, OuterParameter]:
        return {"start": OuterParameter(normal(4, seed=5))}

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"w": outer["start"]})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return (self.x @ inner.params["w"] - self.y).square().mean() / 2


def test_first_order_maml_is_a_choice_and_a_lost_start_is_not() -> None:
    problem = Start(CUTS["gradient"])
    inner, run = problem.solve(num_steps=3)
    gradient = UnrolledDifferentiation().compute_hypergradient(run, problem).gradient["start"]
    w = inner.params["w"]
    torch.testing.assert_close(
        gradient, problem.x_val.T @ (problem.x_val @ w - problem.y_val) / len(problem.x)
    )
    for steps in (1, 3):
        with pytest.raises(ProblemError, match="inner_update cuts .*'start'"):
            differentiate(Start(CUTS["result"]), steps)


@pytest.mark.parametrize("steps", [1, 3])
def test_rules_whose_derivative_is_honestly_zero_pass(steps: int) -> None:
    """Steps of signs, a parameter that stays where it is, and noise that follows nothing."""
    signs: Rule = lambda w, g: w - 0.01 * torch.where(g > 0, 1.0, -1.0)  # noqa: E731
    problem = Ruled(signs)
    assert torch.equal(differentiate(problem, steps).gradient["decay"], torch.zeros(4, dtype=DOUBLE))

    class Frozen(Ruled):
        def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
            return InnerState(
                {"w": normal(4, seed=9), "fixed": normal(2, seed=3), "noise": normal(2, seed=4)}
            )

        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            more = (inner.params["fixed"].sum() + inner.params["noise"].sum()) * outer["decay"].sum()
            return super().inner_loss(inner, outer, batch, ctx) + more

        def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
            step = super().inner_update(inner, grads, outer, ctx).params
            noise = inner.params["noise"] + torch.randn(2, generator=ctx.generator, dtype=DOUBLE)
            return InnerState({**step, "fixed": inner.params["fixed"], "noise": noise})

    frozen = Frozen(lambda w, g: w - RATE * g)
    _, run = frozen.solve(num_steps=steps)
    truth = central_differences(solved_loss(frozen, steps), run.outer)
    gradient = UnrolledDifferentiation().compute_hypergradient(run, frozen).gradient
    torch.testing.assert_close(gradient, truth, rtol=1e-6, atol=1e-9)


def test_a_parameter_of_the_outer_loss_only_does_not_care_about_the_rule() -> None:
    class Outside(Ruled):
        def outer_parameters(self) -> Mapping[str, OuterParameter]:
            return {"decay": OuterParameter(torch.ones(4, dtype=DOUBLE))}

        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return (self.x @ inner.params["w"] - self.y).square().mean()

        def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return outer["decay"].square().sum() + inner.params["w"].sum()

    for truncation in (None, 2):
        result = differentiate(Outside(CUTS["gradient"]), truncation=truncation)
        assert torch.equal(result.gradient["decay"], torch.full((4,), 2.0, dtype=DOUBLE))
