"""Compiled steps give what the steps give, or an error that says what is in the way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient import UnrolledDifferentiation
from chronos_common.problem import Context, InnerProblem, InnerState, ModuleProblem, Tensors
from tests.support.problems import DOUBLE, Quadratic, Ridge, classes, small_mlp

pytestmark = pytest.mark.numerical


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kernels_give_what_eager_steps_give() -> None:
    problem = Quadratic(4)
    compiled = UnrolledDifferentiation(compile=True)
    _, run = problem.solve(num_steps=3)
    _, recorded = problem.solve(num_steps=3, recorder=compiled.recorder())
    expected = UnrolledDifferentiation().compute_hypergradient(run, problem)
    found = compiled.compute_hypergradient(recorded, problem)
    torch.testing.assert_close(found.gradient, expected.gradient, rtol=1e-9, atol=1e-13)
    assert found.diagnostics["compile_seconds"] > 0.0


def test_compiled_steps_give_what_eager_ones_give() -> None:
    """Mini-batches, momentum and its rate in λ; recorded, replayed and truncated; one compilation for all loops."""
    problem = small_mlp(
        outer={"rate": torch.tensor(0.2, dtype=DOUBLE), "decay": torch.full((4,), 0.2, dtype=DOUBLE)},
        batch_size=7,
        momentum=0.6,
        learning_rate="rate",
    )
    compiled = UnrolledDifferentiation(compile=True, compile_backend="aot_eager")
    plain, run = problem.solve(num_steps=6)
    fast, recorded = problem.solve(num_steps=6, recorder=compiled.recorder())
    torch.testing.assert_close(fast.params, plain.params, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(recorded.losses, run.losses, rtol=1e-12, atol=1e-14)
    expected = UnrolledDifferentiation().compute_hypergradient(run, problem)
    found = compiled.compute_hypergradient(recorded, problem)
    torch.testing.assert_close(found.gradient, expected.gradient, rtol=1e-9, atol=1e-13)
    again = compiled.compute_hypergradient(run, problem)
    torch.testing.assert_close(again.gradient, expected.gradient, rtol=1e-9, atol=1e-13)
    spent = found.diagnostics["compile_seconds"]
    assert spent > 0.0
    assert again.diagnostics["compile_seconds"] == spent
    for truncation in (1, 3):
        last = UnrolledDifferentiation(truncation=truncation).compute_hypergradient(run, problem)
        short = UnrolledDifferentiation(truncation=truncation, compile=True, compile_backend="aot_eager")
        torch.testing.assert_close(
            short.compute_hypergradient(run, problem).gradient, last.gradient, rtol=1e-9, atol=1e-13
        )


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'eager'.*aot_eager"):
        UnrolledDifferentiation(compile=True, compile_backend="eager")


@pytest.mark.parametrize("what", ["generator", "step"])
def test_a_loss_that_reads_more_than_its_arguments_is_refused(what: str) -> None:
    class Noisy(Ridge):
        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            more = torch.rand((), generator=ctx.generator) if what == "generator" else float(ctx.step)
            return super().inner_loss(inner, outer, batch, ctx) * (1.0 + more)

    refused(Noisy(), rf"ctx\.{what}")


def test_dropout_is_refused() -> None:
    module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    problem = ModuleProblem(
        module,
        classes(30, seed=1),
        classes(20, seed=2),
        outer={"decay": torch.tensor(0.1, dtype=DOUBLE)},
        regulariser=lambda params, outer: outer["decay"] * params["0.weight"].square().sum(),
    )
    refused(problem, "random numbers and dropout")


def test_a_branch_on_values_is_refused() -> None:
    class Branching(Quadratic):
        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            loss = super().inner_loss(inner, outer, batch, ctx)
            return loss * 2 if float(loss) > 1.0 else loss

    refused(Branching(4), "cannot be compiled")


def refused(problem: InnerProblem, words: str) -> None:
    compiled = UnrolledDifferentiation(compile=True, compile_backend="aot_eager")
    with pytest.raises(ConfigurationError, match=words):
        problem.solve(num_steps=2, recorder=compiled.recorder())
