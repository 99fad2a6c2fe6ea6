"""What every estimator of the table promises, on several problems. A new estimator gets a row here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from chronos_common.errors import (
    ConfigurationError,
    DivergenceError,
    MissingPartError,
    OuterParameterUnusedError,
)
from chronos_common.hypergradient import ESTIMATORS, HypergradientEstimator, make_estimator
from chronos_common.outer import OuterConfig
from chronos_common.problem import (
    Context,
    InnerProblem,
    InnerState,
    ModuleProblem,
    OuterParameter,
    Task,
    Tensors,
)
from tests.support.problems import DOUBLE, Ridge, WithMomentum, small_mlp, solved_loss

pytestmark = pytest.mark.numerical


class Scalars(InnerProblem):
    """θ is 0-d and λ a bare float: (θ - λ)² against (θ - 3)²."""

    def outer_parameters(self) -> Mapping[str, float | Tensor]:
        return {"target": 1.5}

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"theta": torch.tensor(0.0, device=ctx.device)})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return (inner.params["theta"] - outer["target"]) ** 2

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return (inner.params["theta"] - 3.0) ** 2


class Empty(Scalars):
    """An outer and an inner parameter without elements, beside real ones."""

    def outer_parameters(self) -> Mapping[str, float | Tensor]:
        return {"target": 1.5, "nothing": torch.empty(0)}

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState(
            {"theta": torch.tensor(0.0, device=ctx.device), "nothing": torch.empty(0, 3, device=ctx.device)}
        )

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        nothing = outer["nothing"].sum() + inner.params["nothing"].square().sum()
        return super().inner_loss(inner, outer, batch, ctx) + nothing


class Tasks(Ridge):
    """Two validation targets with their own optima; their losses are averaged."""

    def tasks(self, ctx: Context) -> list[Task]:
        return [Task(index=i, name=f"task/{i}", data=1.0 + i) for i in range(2)]

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return super().outer_loss(inner, outer, batch, ctx) * float(ctx.task.data)


def cleaning() -> InnerProblem:
    return small_mlp(
        outer={"logits": torch.zeros(30, dtype=DOUBLE)},
        regulariser=None,
        sample_weights=lambda outer, positions: torch.sigmoid(outer["logits"][positions]),
        batch_size=8,
        validation_batch_size=5,
        momentum=0.5,
    )


PROBLEMS: dict[str, Callable[[], InnerProblem]] = {
    "ridge": Ridge,
    "ridge-float32": lambda: Ridge(dtype=torch.float32),
    "scalars": Scalars,
    "empty": Empty,
    "mlp": small_mlp,
    "cleaning": cleaning,
}


@dataclasses.dataclass(frozen=True)
class Traits:
    """Where an estimator differs, by design and by its docstring, from one that is exact for every problem.

    rough: a descent direction, of another length than the hypergradient.
    blind: sees values of the outer loss only, so that neither a parameter that nothing uses nor a derivative
        that is not a number shows.
    momentum: needs an inner loop with momentum.
    settings: to be quick.
    """

    rough: bool = False
    blind: bool = False
    momentum: bool = False
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


TRAITS = {
    "reversible": Traits(momentum=True),
    "finite_difference": Traits(rough=True),
    "sama": Traits(rough=True),
    "f2sa": Traits(rough=True),
    "bome": Traits(rough=True),
    "evolution": Traits(rough=True, blind=True, settings={"pairs": 4}),
    "pes": Traits(rough=True, blind=True, settings={"pairs": 4}),
    "pzobo": Traits(rough=True, blind=True, settings={"directions": 4}),
}
NAMES = sorted(ESTIMATORS.keys() - {"pseudo_gradient"})
"""A pseudo-gradient is no derivative of the outer loss: test_pseudo_gradient.py says what it is."""


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def traits(name: str) -> Traits:
    return TRAITS.get(name, Traits())


@pytest.fixture
def estimator(name: str, traits: Traits) -> HypergradientEstimator:
    return make_estimator(name, **traits.settings)


def suited(problem: InnerProblem, traits: Traits) -> InnerProblem:
    """``problem`` with momentum if the estimator needs one."""
    return WithMomentum(problem) if traits.momentum else problem


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
"""``tests/conftest.py`` says at the end of a session on which of them the contract was tested."""


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def moved(problem: InnerProblem, device: str) -> InnerProblem:
    """``problem`` with the data that it holds itself on ``device``; other data follow the context."""
    for owner in (problem, getattr(problem, "problem", None)):
        if isinstance(owner, Ridge):
            owner.move(device)
    return problem


@pytest.fixture(params=sorted(PROBLEMS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def problem(kind: str, traits: Traits) -> InnerProblem:
    # "cleaning" has a momentum of its own.
    return PROBLEMS[kind]() if kind == "cleaning" else suited(PROBLEMS[kind](), traits)


def test_returns_a_finite_gradient_like_lambda(
    estimator: HypergradientEstimator, problem: InnerProblem, device: str
) -> None:
    where = Context(device=torch.device(device))
    _, run = moved(problem, device).solve(num_steps=15, keep_last=estimator.keep_last, ctx=where)
    result = estimator.compute_hypergradient(run, problem)
    assert result.gradient.keys() == run.outer.keys()
    assert {v.device.type for v in (*result.gradient.values(), *run.final.params.values())} == {device}
    for name, value in run.outer.items():
        gradient = result.gradient[name]
        assert (gradient.shape, gradient.dtype) == (value.shape, value.dtype)
        assert torch.isfinite(gradient).all()
        assert not gradient.requires_grad
    assert all(isinstance(v, float) for v in result.diagnostics.values())
    assert {"outer_loss", "gradient_norm"} <= result.diagnostics.keys()
    assert result.diagnostics["gradient_norm"] > 0
    assert not any(v.requires_grad for v in result.state.values())


def test_is_a_descent_direction(
    estimator: HypergradientEstimator, traits: Traits, kind: str, problem: InnerProblem
) -> None:
    """A hypergradient that never reached λ, or of the wrong sign, fails here."""
    if isinstance(PROBLEMS[kind](), ModuleProblem):
        return  # too slow to converge; test_closed_form.py compares such ones with finite differences
    init, run = problem.solve(num_steps=200, keep_last=estimator.keep_last)
    result = estimator.compute_hypergradient(run, problem)
    norm = result.diagnostics["gradient_norm"]
    stepped = {k: v - 1e-3 * result.gradient[k] / norm for k, v in run.outer.items()}
    drop = result.diagnostics["outer_loss"] - solved_loss(problem, 200, init)(stepped)
    if traits.rough:
        assert drop > 0.0
    else:
        assert drop == pytest.approx(1e-3 * norm, rel=0.3)


def test_is_reproducible(estimator: HypergradientEstimator, problem: InnerProblem, device: str) -> None:
    gradients, where = [], Context(device=torch.device(device))
    moved(problem, device)
    for _ in range(2):
        _, run = problem.solve(num_steps=9, ctx=where)
        torch.rand(3)  # the global generator must not matter
        gradients.append(estimator.compute_hypergradient(run, problem).gradient)
    assert all(torch.equal(gradients[0][k], gradients[1][k]) for k in gradients[0])


def test_goes_on_from_a_state_that_came_through_a_file(name: str, traits: Traits, device: str) -> None:
    problem = moved(suited(Ridge(), traits), device)
    _, run = problem.solve(num_steps=5, ctx=Context(device=torch.device(device)))
    found = []
    for through_a_file in (False, True):
        estimator = make_estimator(name, **traits.settings)
        state = estimator.compute_hypergradient(run, problem).state
        if through_a_file:
            state = {k: v.cpu().clone() for k, v in state.items()}
        found.append(estimator.compute_hypergradient(run, problem, state).gradient["decay"])
    assert torch.equal(*found)


def test_a_state_of_another_problem_is_ignored(name: str, traits: Traits) -> None:
    """A problem may be changed between two starts of a worker, and θ with it."""
    found = []
    for state in (None, *(_state_of(name, traits, other) for other in (Ridge(5), small_mlp()))):
        problem = suited(Ridge(), traits)
        solved, _ = problem.solve(num_steps=3)
        _, run = problem.solve(init=solved, num_steps=3)
        estimator = make_estimator(name, **traits.settings)
        found.append(estimator.compute_hypergradient(run, problem, state).gradient["decay"])
    assert all(torch.isfinite(gradient).all() for gradient in found)
    if not traits.blind:  # those count their calls: other draws
        torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(found[2], found[0], rtol=1e-9, atol=1e-12)


def _state_of(name: str, traits: Traits, problem: InnerProblem) -> Tensors:
    problem = suited(problem, traits)
    _, run = problem.solve(num_steps=3)
    return make_estimator(name, **traits.settings).compute_hypergradient(run, problem).state


def test_does_not_touch_its_inputs(estimator: HypergradientEstimator, traits: Traits) -> None:
    problem = suited(Ridge(), traits)
    _, run = problem.solve(num_steps=5)
    first = estimator.compute_hypergradient(run, problem)
    kept = {k: v.clone() for k, v in first.state.items()}
    before = run.final.params["w"].clone()
    estimator.compute_hypergradient(run, problem, first.state)
    assert torch.equal(run.final.params["w"], before)
    assert not run.final.params["w"].requires_grad
    assert not run.outer["decay"].requires_grad
    assert all(torch.equal(first.state[k], v) for k, v in kept.items())


def test_tasks_are_averaged_with_equal_weights(estimator: HypergradientEstimator, traits: Traits) -> None:
    problem = suited(Tasks(), traits)
    runs = [problem.solve(num_steps=20, ctx=Context(task=task))[1] for task in problem.tasks(Context())]
    alone = [estimator.compute_hypergradient(run, problem) for run in runs]
    both = estimator.compute_hypergradient(runs, problem)
    mean = sum(result.gradient["decay"] for result in alone) / 2
    torch.testing.assert_close(both.gradient["decay"], mean, rtol=1e-12, atol=0)
    losses = [result.diagnostics["outer_loss"] for result in alone]
    assert losses[1] == pytest.approx(2 * losses[0])
    assert both.diagnostics["outer_loss"] == pytest.approx(sum(losses) / 2)


def test_says_what_it_costs_and_keeps(name: str, estimator: HypergradientEstimator) -> None:
    said = " ".join(kind.__doc__ or "" for kind in type(estimator).__mro__[:-2])
    for word in ("Cost", "Memory"):
        assert f"{word}:" in said or f"{word} of a call:" in said, f"{name} does not state its {word.lower()}"


def test_no_trajectory_is_refused(estimator: HypergradientEstimator) -> None:
    with pytest.raises(ConfigurationError, match="at least one trajectory"):
        estimator.compute_hypergradient([], Ridge())


def test_a_missing_part_is_named_with_estimator_and_problem(estimator: HypergradientEstimator) -> None:
    class BlackBox(InnerProblem):
        def outer_parameters(self) -> Mapping[str, float]:
            return {"x": 1.0}

        def evaluate(self, inner: InnerState | None, outer: Tensors, ctx: Context) -> dict[str, float]:
            return {"loss": float(outer["x"]) ** 2}

    _, run = Ridge().solve(num_steps=1)
    with pytest.raises(MissingPartError) as caught:
        estimator.compute_hypergradient(run, BlackBox())
    for word in ("init_inner", "BlackBox", type(estimator).__name__):
        assert word in str(caught.value)


def test_a_parameter_that_nothing_uses_is_an_error_not_a_zero(
    estimator: HypergradientEstimator, traits: Traits
) -> None:
    mlp = small_mlp(
        outer={"decay": torch.tensor(0.1, dtype=DOUBLE), "idle": 1.0},
        regulariser=lambda params, outer: outer["decay"] * params["0.weight"].square().sum(),
    )
    problem = suited(mlp, traits)
    _, run = problem.solve(num_steps=3)
    if traits.blind:
        assert "that nothing uses gives noise" in " ".join((type(estimator).__doc__ or "").split())
        return
    with pytest.raises(OuterParameterUnusedError, match="'idle'") as caught:
        estimator.compute_hypergradient(run, problem)
    assert caught.value.details == {"name": "idle"}


def test_a_parameter_with_zero_mixed_derivative_has_gradient_zero(
    estimator: HypergradientEstimator, traits: Traits
) -> None:
    mlp = small_mlp(
        outer={"offset": torch.tensor([1.0, 2.0], dtype=DOUBLE)},
        regulariser=lambda params, outer: outer["offset"].sum(),
    )
    problem = suited(mlp, traits)
    _, run = problem.solve(num_steps=3)
    gradient = estimator.compute_hypergradient(run, problem).gradient["offset"]
    assert torch.equal(gradient, torch.zeros(2, dtype=DOUBLE))


def test_values_that_are_not_finite_raise(estimator: HypergradientEstimator, traits: Traits) -> None:
    class Nan(Ridge):
        def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return inner.params["w"].sum() * float("nan")

    class NanGradient(Ridge):
        def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return (inner.params["w"] * 0.0).square().sum().sqrt()

    cases = [(Nan(), "outer loss"), (NanGradient(), "not finite")]
    for ridge, words in cases[: 1 if traits.blind and "pzobo" not in type(estimator).__name__.lower() else 2]:
        problem = suited(ridge, traits)
        _, run = problem.solve(num_steps=2)
        with pytest.raises(DivergenceError, match=words):
            estimator.compute_hypergradient(run, problem)


def test_the_outer_loss_falls_when_lambda_is_learnt_and_not_at_rate_zero(name: str, traits: Traits) -> None:
    """The control: with outer learning rate 0 nothing may be learnt."""
    losses = {}
    for rate in (0.0, 0.3):
        learner = make_estimator(
            name, optimizer=OuterConfig(name="adam", learning_rate=rate), **traits.settings
        )
        problem, outer, inner, state = suited(Ridge(), traits), None, None, None
        seen = []
        for _ in range(15):
            inner, run = problem.solve(outer, inner, 30, keep_last=learner.keep_last)
            result = learner.compute_hypergradient(run, problem, state)
            outer, state = learner.step(result), result.state
            seen.append(result.diagnostics["outer_loss"])
        losses[rate] = seen
    assert losses[0.3][-1] < 0.9 * losses[0.0][-1]
    assert losses[0.0][-1] == pytest.approx(losses[0.0][-2], rel=1e-3)


def test_the_declared_parameter_may_be_of_another_dtype_than_theta(
    estimator: HypergradientEstimator, traits: Traits
) -> None:
    class Mixed(Ridge):
        def outer_parameters(self) -> Mapping[str, OuterParameter]:
            return {"decay": OuterParameter(self.start.float(), scale="log")}

        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return super().inner_loss(inner, {"decay": outer["decay"].double()}, batch, ctx)

    problem = suited(Mixed(), traits)
    _, run = problem.solve(num_steps=30)
    gradient = estimator.compute_hypergradient(run, problem).gradient["decay"]
    assert gradient.dtype == torch.float32
