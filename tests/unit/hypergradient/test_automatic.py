from __future__ import annotations

import logging

import pytest
import torch

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient import make_estimator
from chronos_common.hypergradient.automatic import (
    EXACT_SIZE,
    FEW,
    SHORT,
    AutomaticEstimator,
    Choice,
    Facts,
    choose,
)
from tests.support.problems import Quadratic, Ridge

PLENTY = 10**9


def facts(**changes: object) -> Facts:
    given: dict[str, object] = {
        "size": 1000,
        "state_bytes": 8000,
        "steps": 100,
        "cold": True,
        "outside": (),
        "outer_size": 5,
    }
    return Facts(**{**given, **changes})  # type: ignore[arg-type]


STEP, RATE = 6 * 8000, {"outside": ("rate",)}


@pytest.mark.parametrize(
    ("given", "budget", "name", "truncation"),
    [
        (facts(), PLENTY, "implicit", None),
        (facts(size=EXACT_SIZE), PLENTY, "exact", None),
        (facts(size=EXACT_SIZE + 1), PLENTY, "implicit", None),
        (facts(steps=SHORT), PLENTY, "unrolled", None),
        (facts(steps=SHORT + 1), PLENTY, "implicit", None),
        (facts(steps=SHORT), STEP * SHORT, "unrolled", None),
        (facts(steps=SHORT), STEP * SHORT - 1, "implicit", None),
        (facts(steps=SHORT, cold=False), PLENTY, "implicit", None),
        (facts(steps=0), PLENTY, "implicit", None),
        # Through the steps: all of them while T graphs fit, ⌈√T⌉ graphs and states, one for each λ, the last ones.
        (facts(**RATE, steps=10_000), PLENTY, "unrolled", None),
        (facts(**RATE, cold=False), PLENTY, "unrolled", None),
        (facts(**RATE), STEP * 100, "unrolled", None),
        (facts(**RATE), STEP * 100 - 1, "recompute", None),
        (facts(**RATE), (STEP + 8000) * 10, "recompute", None),
        (facts(**RATE), (STEP + 8000) * 10 - 1, "forward", None),
        (facts(**RATE, steps=101), (STEP + 8000) * 11, "recompute", None),
        (facts(**RATE, steps=101), (STEP + 8000) * 11 - 1, "forward", None),
        (facts(**RATE), (STEP + 8000) * 5, "forward", None),
        (facts(**RATE), (STEP + 8000) * 5 - 1, "unrolled", 5),
        (facts(**RATE, steps=10**6, outer_size=FEW), (STEP + 8000) * FEW, "forward", None),
        (facts(**RATE, steps=10**6, outer_size=FEW + 1), (STEP + 8000) * (FEW + 1), "unrolled", 19),
        (facts(**RATE), 1, "unrolled", 1),
    ],
)
def test_the_rule(given: Facts, budget: int, name: str, truncation: int | None) -> None:
    assert choose(given, budget) == Choice(name=name, truncation=truncation)


def test_the_facts_are_those_of_the_trajectory() -> None:
    quadratic, ridge = Quadratic(), Ridge()
    _, run = quadratic.solve(num_steps=3)
    assert Facts.of(run, quadratic) == Facts(
        size=8, state_bytes=128, steps=3, cold=True, outside=("rate", "momentum"), outer_size=10
    )
    solved, _ = ridge.solve(num_steps=3)
    _, run = ridge.solve(init=solved, num_steps=50, should_stop=lambda: True)
    assert Facts.of(run, ridge) == Facts(
        size=8, state_bytes=64, steps=50, cold=False, outside=(), outer_size=8
    )


def test_it_computes_what_the_chosen_one_computes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for problem, steps, name, settings in (
        (Quadratic(), 60, "unrolled", {}),
        (Ridge(), 60, "exact", {"damping": 1e-3}),
        (Ridge(EXACT_SIZE + 1), 60, "implicit", {"damping": 1e-3, "cg_steps": 20}),
        (Ridge(), 5, "unrolled", {}),
    ):
        _, run = problem.solve(num_steps=steps)
        found = AutomaticEstimator().compute_hypergradient(run, problem)
        expected = make_estimator(name, **settings).compute_hypergradient(run, problem)
        for key, value in expected.gradient.items():
            assert torch.equal(found.gradient[key], value), name
        assert found.diagnostics == expected.diagnostics
        assert f"auto chooses {name}" in caplog.text
        caplog.clear()


@pytest.mark.parametrize(
    ("budget", "name"), [(7 * 128 * 6, "recompute"), (7 * 128 * 6 - 1, "unrolled"), (1, "unrolled")]
)
def test_a_small_budget_never_makes_the_hypergradient_of_a_learning_rate_zero(
    budget: int, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    problem = Quadratic()
    _, run = problem.solve(num_steps=30)
    found = AutomaticEstimator(budget_bytes=budget).compute_hypergradient(run, problem).gradient
    if name == "recompute":
        truth = make_estimator("unrolled").compute_hypergradient(run, problem).gradient
        torch.testing.assert_close(found, truth, rtol=1e-10, atol=1e-12)
    else:
        assert "of the last" in caplog.text  # what is forgotten is said
    assert all(float(found[key].norm()) > 0.0 for key in ("rate", "momentum", "decay"))


def test_forward_mode_of_few_parameters_is_exact_under_a_budget_that_holds_no_segment() -> None:
    problem = Quadratic(2)
    _, run = problem.solve(num_steps=50)
    estimator = AutomaticEstimator(budget_bytes=7 * 32 * 4)
    truth = make_estimator("unrolled").compute_hypergradient(run, problem).gradient
    assert "directions" in estimator.compute_hypergradient(run, problem).diagnostics
    torch.testing.assert_close(
        estimator.compute_hypergradient(run, problem).gradient, truth, rtol=1e-10, atol=1e-12
    )


def test_a_budget_below_one_byte_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="budget_bytes"):
        AutomaticEstimator(budget_bytes=0)
