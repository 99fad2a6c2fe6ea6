"""A specialised gene with a known optimum is found while members compete."""

from __future__ import annotations

import pytest

from benchmarks.population.known_optimum import Regression, found_dropout


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dropout_is_found_within_a_twentieth(seed: int) -> None:
    problem = Regression(seed)
    assert found_dropout(problem, seed) == pytest.approx(problem.optimum(), abs=0.05)
