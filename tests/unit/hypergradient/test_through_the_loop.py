"""Whatever differentiates the whole inner loop gives what unrolling it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.hypergradient import HypergradientEstimator, UnrolledDifferentiation, make_estimator
from chronos_common.problem import (
    Aux,
    Context,
    InnerProblem,
    InnerState,
    ModuleProblem,
    OuterParameter,
    Tensors,
)
from tests.support.problems import DOUBLE, Quadratic, Ridge, WithMomentum, classes, normal, small_mlp


class Start(Ridge):
    """λ is where θ starts, and a force on it."""

    def outer_parameters(self) -> Mapping[str, OuterParameter]:
        return {"start": OuterParameter(self.start)}

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"w": outer["start"]})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        w = inner.params["w"]
        return (self.x @ w - self.y).square().mean() / 2 + (w * outer["start"]).sum()


class Averaged(Ridge):
    """A buffer that the problem computes itself, with a graph, and that the outer loss is about."""

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        zero = torch.zeros_like(self.start)
        return InnerState({"w": zero}, buffers={"mean": zero})

    def inner_loss(
        self, inner: InnerState, outer: Tensors, batch: object, ctx: Context
    ) -> tuple[Tensor, Aux]:  # type: ignore[override]
        mean = 0.8 * inner.buffers["mean"] + 0.2 * inner.params["w"]
        return super().inner_loss(inner, outer, batch, ctx), Aux(buffers={"mean": mean})

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return (self.x_val @ inner.buffers["mean"] - self.y_val).square().mean()


class HalfPrecision(Ridge):
    """The products in bfloat16, by autocast."""

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        w = inner.params["w"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predicted = self.x @ w[:, None]
        error = (predicted.float()[:, 0] - self.y).square().mean()
        return (error + (outer["decay"] * w.square()).sum()) / 2


def network(*layers: nn.Module, **options: object) -> ModuleProblem:
    module = nn.Sequential(nn.Linear(3, 5), *layers, nn.Tanh(), nn.Linear(5, 3)).double()
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=i))
    arguments: dict[str, object] = {
        "outer": {"decay": torch.tensor([0.1, 0.2], dtype=DOUBLE)},
        "regulariser": lambda params, outer: (
            outer["decay"][0] * params["0.weight"].square().sum()
            + outer["decay"][1] * params["0.bias"].square().sum()
        ),
        "batch_size": 6,
        **options,
    }
    return ModuleProblem(module, classes(30, seed=1), classes(20, seed=2), **arguments)  # type: ignore[arg-type]


PROBLEMS: dict[str, Callable[[], InnerProblem]] = {
    "ridge": lambda: WithMomentum(Ridge()),
    "learnt momentum": lambda: Quadratic(5),
    "a start": lambda: WithMomentum(Start(4)),
    "mini-batches": lambda: small_mlp(batch_size=7, momentum=0.6),
    "dropout": lambda: network(nn.Dropout(0.5), momentum=0.9, learning_rate=0.02),
    "autocast": lambda: WithMomentum(HalfPrecision(dtype=torch.float32)),
}
WITH_BUFFERS: dict[str, Callable[[], InnerProblem]] = {
    "batch norm": lambda: network(nn.BatchNorm1d(5)),
    "a buffer with a graph": lambda: Averaged(6),
}
EXACT = ("recompute", "forward")


def same(name: str, problem: InnerProblem, steps: int, *, tolerance: float, **config: object) -> None:
    _, run = problem.solve(num_steps=steps)
    expected = UnrolledDifferentiation().compute_hypergradient(run, problem)
    found = make_estimator(name, **config).compute_hypergradient(run, problem)
    size = max(float(v.norm()) for v in expected.gradient.values())
    for key, value in expected.gradient.items():
        assert float((found.gradient[key] - value).norm()) <= tolerance * size, key
    assert size > 0.0
    assert found.diagnostics["outer_loss"] == expected.diagnostics["outer_loss"]


@pytest.mark.parametrize("kind", sorted({**PROBLEMS, **WITH_BUFFERS}))
@pytest.mark.parametrize("name", EXACT)
def test_gives_what_unrolling_gives(name: str, kind: str) -> None:
    # bfloat16 rounds a derivative whose terms come in another order elsewhere.
    tolerance = 2e-2 if kind == "autocast" else 1e-12
    same(name, {**PROBLEMS, **WITH_BUFFERS}[kind](), 11, tolerance=tolerance)


@pytest.mark.parametrize("kind", sorted(PROBLEMS))
def test_going_back_through_momentum_gives_what_unrolling_gives(kind: str) -> None:
    # In float32 the integers hold more digits than θ did, so that the loop is not quite the same.
    tolerance = 5e-2 if kind == "autocast" else 1e-9
    same("reversible", PROBLEMS[kind](), 11, tolerance=tolerance)


@pytest.mark.parametrize("segment", [1, 3, 11, 50])
def test_the_length_of_segments_changes_nothing(segment: int) -> None:
    same("recompute", Quadratic(5), 11, tolerance=1e-13, segment_steps=segment)


def test_directions_may_go_one_by_one() -> None:
    same("forward", Quadratic(5), 11, tolerance=1e-13, batched=False)


@pytest.mark.parametrize("name", [*EXACT, "reversible"])
def test_a_warm_start_is_a_constant(name: str) -> None:
    problem = WithMomentum(Start(4))
    init = InnerState({"w": normal(4, seed=7)}, opt_state={"w": normal(4, seed=8)})
    _, run = problem.solve(init=init, num_steps=5)
    expected = UnrolledDifferentiation().compute_hypergradient(run, problem).gradient["start"]
    found = make_estimator(name).compute_hypergradient(run, problem).gradient["start"]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [*EXACT, "reversible"])
def test_a_rule_that_cuts_the_graph_is_an_error(name: str) -> None:
    class Cut(Ridge):
        def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
            zero = torch.zeros_like(self.start)
            return InnerState({"w": zero}, opt_state={"w": zero})

        def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
            v = 0.5 * inner.opt_state["w"] + grads["w"].detach()
            return InnerState({"w": inner.params["w"] - 0.1 * v}, opt_state={"w": v})

    problem = Cut()
    _, run = problem.solve(num_steps=4)
    with pytest.raises(ProblemError, match="cuts the graph"):
        make_estimator(name).compute_hypergradient(run, problem)


def test_forward_mode_refuses_a_large_lambda_and_says_what_to_use() -> None:
    problem = Ridge(20)
    _, run = problem.solve(num_steps=2)
    with pytest.raises(ConfigurationError, match=r"20 numbers.*max_directions is 19.*Recompute"):
        make_estimator("forward", max_directions=19).compute_hypergradient(run, problem)


@pytest.mark.parametrize(
    ("name", "config"), [("recompute", {"segment_steps": 0}), ("forward", {"max_directions": 0})]
)
def test_settings_out_of_range_are_refused(name: str, config: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        make_estimator(name, **config)


def recorded(estimator: HypergradientEstimator, problem: InnerProblem, **solving: object) -> Tensors:
    _, run = problem.solve(num_steps=9, recorder=estimator.recorder(), **solving)  # type: ignore[arg-type]
    return estimator.compute_hypergradient(run, problem).gradient


@pytest.mark.parametrize("kind", sorted({**PROBLEMS, **WITH_BUFFERS}))
def test_a_recorded_loop_gives_what_a_replayed_one_gives(kind: str) -> None:
    problem = {**PROBLEMS, **WITH_BUFFERS}[kind]()
    estimator = UnrolledDifferentiation()
    _, run = problem.solve(num_steps=9)
    replayed = estimator.compute_hypergradient(run, problem).gradient
    taped = recorded(estimator, problem)
    assert all(torch.equal(taped[k], v) for k, v in replayed.items())


def test_a_recorded_loop_can_be_differentiated_twice() -> None:
    problem, estimator = Quadratic(5), UnrolledDifferentiation()
    _, run = problem.solve(num_steps=9, recorder=estimator.recorder())
    first, second = (estimator.compute_hypergradient(run, problem).gradient for _ in range(2))
    assert all(torch.equal(first[k], v) for k, v in second.items())


def test_a_recorded_loop_is_the_loop() -> None:
    problem = small_mlp(batch_size=7, momentum=0.6)
    plain, run = problem.solve(num_steps=9)
    taped, other = problem.solve(num_steps=9, recorder=UnrolledDifferentiation().recorder())
    assert all(torch.equal(taped.params[k], v) for k, v in plain.params.items())
    assert not any(v.requires_grad for v in taped.to_tensors().values())
    assert torch.equal(run.losses, other.losses)
    assert not other.losses.requires_grad


def test_truncation_records_nothing() -> None:
    assert UnrolledDifferentiation(truncation=3).recorder() is None
