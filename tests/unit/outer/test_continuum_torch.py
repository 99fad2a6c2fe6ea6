"""The continuum memory system: a chain of blocks whose training through Chronos is the paper's formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from chronos_common.engine.local import optimize
from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient import UnrolledDifferentiation, compute_update
from chronos_common.outer import MultiTimescaleOptimizer, OuterConfig, TimescaleConfig
from chronos_common.outer.continuum_torch import ContinuumMemorySystem
from chronos_common.problem import Context, InnerProblem, InnerState, OuterParameter, Tensors
from chronos_common.tensors import digest

PERIODS = (1, 2, 3)


class Fitting(InnerProblem):
    """Every weight is an outer parameter; each version sees a batch of its own."""

    def __init__(self) -> None:
        self.memory = ContinuumMemorySystem(3, periods=PERIODS, hidden=4).double()

    def outer_parameters(self) -> dict[str, OuterParameter]:
        return {name: OuterParameter(value.detach()) for name, value in self.memory.named_parameters()}

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"none": torch.zeros((), dtype=torch.float64)})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return inner.params["none"].square()

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        x = torch.randn(5, 3, dtype=torch.float64, generator=ctx.generator)
        out: Tensor = functional_call(self.memory, outer, (x,))
        return (out - x.flip(-1)).square().mean()


def test_its_training_is_the_papers_formula_to_the_bit() -> None:
    """θ_{i+1} = θ_i - Σ over (i-C, i] of η·∇L(θ_t; x_t) if i ≡ 0 (mod C), else θ_i, for every block."""
    problem = Fitting()
    outer = OuterConfig(name="sgd", learning_rate=0.1, levels=problem.memory.timescales())
    versions = 13
    result = optimize(problem, estimator="unrolled", outer=outer, versions=versions, inner_steps=1)

    values: dict[str, Any] = {name: value.numpy() for name, value in problem.memory.state_dict().items()}
    sums = {name: np.zeros_like(value) for name, value in values.items()}
    for i in range(1, versions + 1):
        update = compute_update(
            problem, UnrolledDifferentiation(), values, num_inner_steps=1, base_version=i - 1
        )
        for name, gradient in update.gradient.items():
            sums[name] = sums[name] + gradient
            if i % PERIODS[int(name.split(".")[1])] == 0:
                values[name] = values[name] - 0.1 * sums[name]
                sums[name] = np.zeros_like(sums[name])
    assert digest(result.stored) == digest(values)
    loss = [entry.metrics["outer_loss"] for entry in result.history]
    assert loss[-1] < loss[0]


def test_an_estimator_steps_by_levels_as_a_run_does() -> None:
    problem = Fitting()
    levels = problem.memory.timescales()
    base = OuterConfig(name="sgd", learning_rate=0.1)
    estimator = UnrolledDifferentiation(optimizer=MultiTimescaleOptimizer(levels, base=base))
    outer = None
    for version in range(7):
        _, trajectory = problem.solve(outer, num_steps=1, ctx=Context(base_version=version))
        outer = estimator.step(estimator.compute_hypergradient(trajectory, problem))
    result = optimize(
        problem,
        estimator="unrolled",
        outer=OuterConfig(name="sgd", learning_rate=0.1, levels=levels),
        versions=7,
        inner_steps=1,
    )
    assert estimator.meta is not None
    assert digest(estimator.meta.stored) == digest(result.stored)
    assert estimator.meta.optimizer.digest() == result.optimizer_state.digest()


def test_it_is_a_chain_of_its_blocks() -> None:
    memory = ContinuumMemorySystem(4, periods=(1, 10), hidden=3, residual=False)
    x = torch.randn(2, 5, 4)
    first, second = memory.blocks
    assert torch.equal(memory(x), second(first(x)))
    assert memory(x).shape == x.shape
    skipping = ContinuumMemorySystem(4, periods=(1,), hidden=3)
    torch.nn.init.zeros_(skipping.blocks[0].outward.weight)  # type: ignore[arg-type]  # a module's attribute
    torch.nn.init.zeros_(skipping.blocks[0].outward.bias)  # type: ignore[arg-type]  # likewise
    assert torch.equal(skipping(x), x)


def test_its_timescales_name_its_blocks() -> None:
    memory = ContinuumMemorySystem(4)
    adam = OuterConfig(name="adam")
    assert memory.timescales(prefix="memory.", optimizer=adam, reduction="mean") == tuple(
        TimescaleConfig(
            name=f"level{n}",
            parameters=(f"memory.blocks.{n}.*",),
            period=period,
            optimizer=adam,
            reduction="mean",
        )
        for n, period in enumerate((1, 10, 100))
    )
    groups = MultiTimescaleOptimizer(memory.timescales()).groups(dict(memory.named_parameters()))
    assert sum(len(names) for names in groups.values()) == len(list(memory.parameters()))
    assert set(groups) == {"level0", "level1", "level2"}


@pytest.mark.parametrize("arguments", [{"periods": ()}, {"features": 0}, {"hidden": 0}])
def test_a_memory_that_cannot_be_is_refused(arguments: Any) -> None:
    with pytest.raises(ConfigurationError):
        ContinuumMemorySystem(**{"features": 4, **arguments})


def test_a_period_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="period"):
        ContinuumMemorySystem(4, periods=(-1,)).timescales()
