from __future__ import annotations

import logging

import pytest
import torch

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient import make_estimator
from chronos_common.hypergradient.automatic import EXACT_SIZE, SHORT, AutomaticEstimator, Facts, choose
from tests.support.problems import Quadratic, Ridge

PLENTY = 10**9


def facts(**changes: object) -> Facts:
    given: dict[str, object] = {"size": 1000, "state_bytes": 8000, "steps": 100, "cold": True, "outside": ()}
    return Facts(**{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "budget", "choice"),
    [
        (facts(), PLENTY, ("implicit", None)),
        (facts(size=EXACT_SIZE), PLENTY, ("exact", None)),
        (facts(steps=SHORT), PLENTY, ("unrolled", None)),
        (facts(steps=SHORT, cold=False), PLENTY, ("implicit", None)),
        (facts(steps=SHORT), 8000, ("implicit", None)),
        (facts(steps=0), PLENTY, ("implicit", None)),
        (facts(outside=("rate",), steps=10_000), PLENTY, ("unrolled", None)),
        (facts(outside=("rate",), cold=False), PLENTY, ("unrolled", None)),
        (facts(outside=("rate",)), 6 * 8000 * 7, ("unrolled", 7)),
        (facts(outside=("rate",)), 1, ("unrolled", 1)),
    ],
)
def test_the_rule(given: Facts, budget: int, choice: tuple[str, int | None]) -> None:
    assert choose(given, budget) == choice


def test_the_facts_are_those_of_the_trajectory() -> None:
    quadratic, ridge = Quadratic(), Ridge()
    _, run = quadratic.solve(num_steps=3)
    assert Facts.of(run, quadratic) == Facts(
        size=8, state_bytes=128, steps=3, cold=True, outside=("rate", "momentum")
    )
    solved, _ = ridge.solve(num_steps=3)
    _, run = ridge.solve(init=solved, num_steps=50, should_stop=lambda: True)
    assert Facts.of(run, ridge) == Facts(size=8, state_bytes=64, steps=50, cold=False, outside=())


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


def test_a_budget_below_one_byte_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="budget_bytes"):
        AutomaticEstimator(budget_bytes=0)
