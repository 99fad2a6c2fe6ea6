"""A specialised gene with a known optimum is found while members compete.

Dropout of the inputs of a linear model is a ridge penalty p/(1−p)·Σᵢxᵢⱼ² on each weight (Wager et al. 2013), so that
the weights that training tends to, and their validation loss, have a closed form in p.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chronos_common.clan import (
    FitnessReported,
    FloatAllele,
    LogFloatAllele,
    RoundPlan,
    RoundStarted,
    fold,
    found,
    preset,
)
from chronos_common.clan.randomness import stream

SAMPLES, FEATURES, MEMBERS, ROUNDS, STEPS = 60, 40, 8, 80, 40


class Regression:
    """Data, the validation loss of weights, and the rate of dropout that leads to the least of it."""

    def __init__(self, seed: int) -> None:
        draw = stream(seed)
        self.truth = draw.normal(size=FEATURES) / np.sqrt(FEATURES)
        self.x = draw.normal(size=(SAMPLES, FEATURES))
        self.y = self.x @ self.truth + draw.normal(size=SAMPLES)

    def validation(self, weights: NDArray[Any]) -> float:
        return float(1.0 + ((weights - self.truth) ** 2).sum())

    def optimum(self) -> float:
        squares = np.diag((self.x**2).sum(0))
        grid = np.linspace(0.0, 0.9, 181)
        solved = [np.linalg.solve(self.x.T @ self.x + p / (1 - p) * squares, self.x.T @ self.y) for p in grid]
        return float(grid[int(np.argmin([self.validation(weights) for weights in solved]))])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dropout_is_found_within_a_twentieth(seed: int) -> None:
    problem, draw = Regression(seed), stream(seed, 1)
    genes = {
        "dropout": FloatAllele(value=0.05, domain=(0.0, 0.9), specialised=True),
        "lr": LogFloatAllele(value=0.1, domain=(1e-3, 1.0), can_mutate=False),
    }
    config = preset("published", population_size=MEMBERS, round_length=STEPS, duty_cycle=1.0)
    state, weights, late = found(config, genes, seed), np.zeros((MEMBERS, FEATURES)), []
    for number in range(ROUNDS):
        folded = fold(state, RoundStarted(round=number))
        state, (plan,) = folded.state, folded.decisions
        assert isinstance(plan, RoundPlan)
        assert [phase.kind for phase in plan.phases] == ["competitive"]
        rates = np.array([genome.values()["dropout"] for genome in plan.genomes if genome is not None])
        average = np.zeros_like(weights)
        for _ in range(STEPS):
            mask = (draw.random((MEMBERS, SAMPLES, FEATURES)) >= rates[:, None, None]) / (
                1.0 - rates[:, None, None]
            )
            dropped = problem.x * mask
            errors = np.einsum("psf,pf->ps", dropped, weights) - problem.y
            weights = weights - 0.1 * np.einsum("psf,ps->pf", dropped, errors) / SAMPLES
            average += weights / STEPS
        for member in range(MEMBERS):
            loss = problem.validation(average[member])
            folded = fold(state, FitnessReported(round=number, member=member, fitness=loss))
            state = folded.state
        (closed,) = folded.decisions
        before = weights.copy()
        for move in closed.moves:  # type: ignore[union-attr]
            weights[move.target] = before[move.source]
        if number >= ROUNDS // 2:
            late.append(float(np.median(rates)))
    assert np.mean(late) == pytest.approx(problem.optimum(), abs=0.05)
