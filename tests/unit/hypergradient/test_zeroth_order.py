"""Zeroth-order estimators: right on average, within the stated spread, and the same on every replay."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError, DivergenceError
from chronos_common.hypergradient import PZOBO, EvolutionStrategies, PersistentEvolution, make_estimator
from chronos_common.problem import Context, InnerProblem, InnerState, OuterParameter, Tensors
from tests.support.problems import DOUBLE

pytestmark = pytest.mark.numerical

NAMES = ("evolution", "pes", "pzobo")


class Pull(InnerProblem):
    """θ is drawn to λ² at a rate that is a parameter too: cheap, smooth, and not linear in λ."""

    def outer_parameters(self) -> Mapping[str, OuterParameter]:
        return {
            "aim": OuterParameter(torch.tensor([0.5, -0.8], dtype=DOUBLE)),
            "rate": OuterParameter(torch.tensor(0.2, dtype=DOUBLE), scale="log"),
        }

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"w": torch.zeros(2, dtype=DOUBLE)})

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return (inner.params["w"] - outer["aim"].square()).square().sum() / 2

    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        return InnerState({"w": inner.params["w"] - outer["rate"] * grads["w"]})

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
        return (inner.params["w"] - 1.0).square().sum()


def by_stored(gradient: Tensors, outer: Tensors) -> Tensor:
    """dL/du, which these estimators sample: u = log λ for the rate."""
    return torch.cat([gradient["aim"], (gradient["rate"] * outer["rate"]).reshape(1)])


def samples(name: str, count: int, **config: float) -> tuple[Tensor, Tensor]:
    """``count`` estimates with one sample each, and the truth."""
    problem = Pull()
    config = {"directions" if name == "pzobo" else "pairs": 1, "sigma": 1e-4, **config}
    estimator, found = make_estimator(name, **config), []
    for seed in range(count):
        _, run = problem.solve(num_steps=4, ctx=Context(seed=seed))
        gradient = estimator.compute_hypergradient(run, problem).gradient
        found.append(by_stored(gradient, run.outer))
    truth = make_estimator("unrolled").compute_hypergradient(run, problem).gradient
    return torch.stack(found), by_stored(truth, run.outer)


@pytest.mark.parametrize("name", NAMES)
def test_is_unbiased_and_spread_as_it_says(name: str) -> None:
    found, truth = samples(name, 600)
    standard_error = found.std(dim=0) / len(found) ** 0.5
    assert bool(((found.mean(dim=0) - truth).abs() <= 4 * standard_error).all())
    spread = float((found - truth).square().sum(dim=1).mean().sqrt() / truth.norm())
    assert spread == pytest.approx((len(truth) + 1) ** 0.5, rel=0.2)


@pytest.mark.parametrize(("name", "order"), [("evolution", 2.0), ("pzobo", 1.0)])
def test_the_bias_of_smoothing_falls_with_its_width(name: str, order: float) -> None:
    """The same directions at every width: what differs is the bias."""
    narrow, _ = samples(name, 40)
    errors = [
        float((samples(name, 40, sigma=sigma)[0] - narrow).mean(dim=0).norm()) for sigma in (0.2, 0.1, 0.05)
    ]
    for wide, half in pairwise(errors):
        assert wide / half == pytest.approx(2.0**order, rel=0.3)


@pytest.mark.parametrize("name", NAMES)
def test_a_replay_agrees_and_the_next_call_draws_anew(name: str) -> None:
    problem = Pull()
    _, run = problem.solve(num_steps=3)
    estimator = make_estimator(name)
    first = estimator.compute_hypergradient(run, problem)
    again = make_estimator(name).compute_hypergradient(run, problem)
    assert torch.equal(first.gradient["aim"], again.gradient["aim"])
    second = estimator.compute_hypergradient(run, problem, first.state)
    assert not torch.equal(first.gradient["aim"], second.gradient["aim"])
    replayed = make_estimator(name).compute_hypergradient(run, problem, again.state)
    assert torch.equal(second.gradient["aim"], replayed.gradient["aim"])
    assert all(torch.equal(replayed.state[k], v) for k, v in second.state.items())


def windows(estimator: PersistentEvolution, seed: int) -> Tensor:
    """The estimate of the third of three windows of two steps."""
    problem, state, inner = Pull(), None, None
    for i in range(3):
        inner, run = problem.solve(init=inner, num_steps=2, start_step=2 * i, ctx=Context(seed=seed))
        result = estimator.compute_hypergradient(run, problem, state)
        state = result.state
    return by_stored(result.gradient, run.outer)


def test_pes_sees_through_the_windows_before() -> None:
    problem = Pull()
    found = torch.stack([windows(PersistentEvolution(pairs=1, sigma=1e-4), seed) for seed in range(500)])
    _, whole = problem.solve(num_steps=6)
    exact = make_estimator("unrolled").compute_hypergradient(whole, problem).gradient
    truth = by_stored(exact, whole.outer)
    short = make_estimator("unrolled", truncation=2).compute_hypergradient(whole, problem).gradient
    truncated = by_stored(short, whole.outer)
    standard_error = found.std(dim=0) / len(found) ** 0.5
    assert bool(((found.mean(dim=0) - truth).abs() <= 4 * standard_error).all())
    assert bool(((found.mean(dim=0) - truncated).abs() > 4 * standard_error).any())


def test_pes_begins_anew_where_the_loop_does() -> None:
    problem, estimator = Pull(), PersistentEvolution(pairs=2)
    _, run = problem.solve(num_steps=2)
    first = estimator.compute_hypergradient(run, problem)
    again = estimator.compute_hypergradient(run, problem, first.state)
    shifts = {k: v for k, v in again.state.items() if k.startswith("main/shift")}
    kept = {k: v for k, v in first.state.items() if k.startswith("main/shift")}
    assert shifts
    assert not any(torch.equal(v, kept[k]) for k, v in shifts.items())
    _, more = problem.solve(init=run.final, num_steps=2, start_step=2)
    on = estimator.compute_hypergradient(more, problem, first.state)
    assert any(not torch.equal(on.state[k], v) for k, v in shifts.items())


@pytest.mark.parametrize("name", NAMES)
def test_perturbed_values_stay_within_their_bounds(name: str) -> None:
    seen: list[float] = []

    class Bounded(Pull):
        def outer_parameters(self) -> Mapping[str, OuterParameter]:
            inside = OuterParameter(torch.tensor([0.5, -0.8], dtype=DOUBLE), bounds=(-1.0, 0.6))
            return {**super().outer_parameters(), "aim": inside}

        def inner_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            seen.extend(outer["aim"].tolist())
            return super().inner_loss(inner, outer, batch, ctx)

    problem = Bounded()
    _, run = problem.solve(num_steps=1)
    make_estimator(name, sigma=1.0).compute_hypergradient(run, problem)
    assert min(seen) == -1.0
    assert max(seen) == 0.6


def test_a_perturbed_loop_that_diverges_says_so() -> None:
    class Edge(Pull):
        def outer_loss(self, inner: InnerState, outer: Tensors, batch: object, ctx: Context) -> Tensor:
            return (0.51 - outer["aim"][0]).sqrt() + inner.params["w"].sum()

    problem = Edge()
    _, run = problem.solve(num_steps=1)
    with pytest.raises(DivergenceError, match="lower sigma"):
        EvolutionStrategies(sigma=0.5).compute_hypergradient(run, problem)


@pytest.mark.parametrize(
    "build",
    [
        lambda: EvolutionStrategies(pairs=0),
        lambda: EvolutionStrategies(sigma=0.0),
        lambda: PersistentEvolution(pairs=0),
        lambda: PZOBO(directions=0),
        lambda: PZOBO(sigma=-1.0),
    ],
)
def test_settings_out_of_range_are_refused(build: object) -> None:
    with pytest.raises(ConfigurationError):
        build()  # type: ignore[operator]
