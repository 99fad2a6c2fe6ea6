"""Momentum backwards: to the last bit, or an error."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from chronos_common.errors import ConfigurationError, DivergenceError, ProblemError
from chronos_common.hypergradient import make_estimator
from chronos_common.hypergradient.exact_momentum import LostBits, ratio, unit, whole
from chronos_common.problem import Context, InnerProblem, InnerState, ModuleProblem, Tensors
from tests.support.problems import DOUBLE, Quadratic, Ridge, WithMomentum, classes, normal, small_mlp

pytestmark = pytest.mark.numerical


@pytest.mark.parametrize("momentum", [1e-6, 0.01, 0.3, 0.5, 0.9, 0.99, 1.0])
def test_multiplying_is_undone_to_the_last_bit(momentum: float) -> None:
    factor = torch.tensor(momentum, dtype=DOUBLE)
    lost, velocity = LostBits.none(torch.empty(500)), (normal(500, seed=1) * 2**44).to(torch.int64)
    forces = [(normal(500, seed=i) * 2**40).to(torch.int64) for i in range(120)]
    before: list[Tensor] = []
    for force in forces:
        before.append(velocity)
        velocity = lost.multiply(velocity, ratio(factor)) + force
    for force, expected in zip(reversed(forces), reversed(before), strict=True):
        velocity = lost.restore(velocity - force, ratio(factor))
        assert torch.equal(velocity, expected)
    assert not lost.full
    assert not lost.buffer.any()


@pytest.mark.parametrize("momentum", [0.01, 0.5, 0.9, 0.99])
def test_multiplying_rounds_by_less_than_a_unit(momentum: float) -> None:
    factor = torch.tensor(momentum, dtype=DOUBLE)
    velocity = (normal(1000, seed=1) * 2**30).to(torch.int64)
    slowed = LostBits.none(velocity).multiply(velocity, ratio(factor))
    assert float((slowed.double() - momentum * velocity.double()).abs().max()) <= 1.02


def test_what_is_kept_is_what_momentum_loses() -> None:
    """At a momentum of 0.9 about 0.2 bits a step, where a state would be 128."""
    lost, velocity = LostBits.none(torch.empty(500)), (normal(500, seed=1) * 2**44).to(torch.int64)
    for i in range(600):
        velocity = lost.multiply(velocity, ratio(torch.tensor(0.9, dtype=DOUBLE)))
        velocity = velocity + (normal(500, seed=i) * 2**40).to(torch.int64)
    assert len(lost.full) <= 2


def test_numbers_that_outgrow_the_integers_are_an_error() -> None:
    size = unit(torch.tensor([1.0], dtype=DOUBLE))
    assert int(whole(torch.tensor([1.0], dtype=DOUBLE), size)[0]) * size == 1.0
    for value in (200.0, float("nan")):
        with pytest.raises(DivergenceError, match="64-fold"):
            whole(torch.tensor([value], dtype=DOUBLE), size)


def test_a_long_loop_comes_back_and_its_gradient_is_that_of_unrolling() -> None:
    problem = small_mlp(momentum=0.9, learning_rate=0.03)
    _, run = problem.solve(num_steps=150)
    expected = make_estimator("unrolled").compute_hypergradient(run, problem).gradient["decay"]
    result = make_estimator("reversible").compute_hypergradient(run, problem)
    torch.testing.assert_close(result.gradient["decay"], expected, rtol=1e-10, atol=1e-12)
    assert result.diagnostics["replay_error"] < 1e-10
    state = sum(v.nbytes for v in run.final.to_tensors().values())
    assert result.diagnostics["kept_bytes"] <= state


def test_gradients_that_differ_at_the_same_point_are_an_error() -> None:
    class Careless(Ridge):
        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return super().inner_loss(inner, outer, batch, ctx) * (1 + torch.rand((), dtype=DOUBLE))

    problem = WithMomentum(Careless())
    _, run = problem.solve(num_steps=4)
    with pytest.raises(ProblemError, match=r"ended elsewhere.*ctx\.generator"):
        make_estimator("reversible").compute_hypergradient(run, problem)


class Other(Quadratic):
    """A velocity there is, but not of momentum."""

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        v = outer["momentum"] * inner.opt_state["v"] + grads["w"]
        return InnerState({"w": inner.params["w"] - outer["rate"] * v.tanh()}, opt_state={"v": v})


def normed() -> InnerProblem:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    return ModuleProblem(
        module,
        classes(30, seed=1),
        classes(20, seed=2),
        outer={"decay": torch.tensor(0.1, dtype=DOUBLE)},
        regulariser=lambda params, outer: outer["decay"] * params["0.weight"].square().sum(),
        momentum=0.9,
    )


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (Ridge(), "one velocity for each parameter"),
        (Other(4), "does not move 'w' by"),
        (normed(), "buffer .* changes"),
    ],
)
def test_what_cannot_be_undone_is_refused_with_what_to_use(problem: InnerProblem, words: str) -> None:
    _, run = problem.solve(num_steps=3)
    with pytest.raises(ConfigurationError, match=words) as caught:
        make_estimator("reversible").compute_hypergradient(run, problem)
    assert "RecomputeDifferentiation" in str(caught.value)


def test_no_momentum_at_all_is_refused() -> None:
    problem = Quadratic(4)
    outer = {**problem.solve(num_steps=0)[1].outer, "momentum": torch.tensor(0.0, dtype=DOUBLE)}
    _, run = problem.solve(outer, num_steps=3)
    with pytest.raises(ConfigurationError, match="divides by the momentum"):
        make_estimator("reversible").compute_hypergradient(run, problem)
