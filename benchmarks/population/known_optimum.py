"""A problem whose best rate of dropout is known, and the rate that members find by competing.

Dropout of the inputs of a linear model is a ridge penalty p/(1−p)·Σᵢxᵢⱼ² on each weight (Wager et al. 2013), so that
the weights that training tends to, and their validation loss, have a closed form in p.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chronos_common.clan import (
    ClanState,
    FitnessReported,
    FloatAllele,
    LogFloatAllele,
    RoundClosed,
    RoundPlan,
    RoundStarted,
    fold,
    found,
    preset,
)
from chronos_common.clan.randomness import stream

SAMPLES, FEATURES, MEMBERS, ROUNDS, STEPS = 60, 40, 8, 80, 40
RATE = 0.1

Floats = NDArray[np.float64]


class Regression:
    """Data, the validation loss of weights, and the rate of dropout that leads to the least of it."""

    def __init__(self, seed: int) -> None:
        draw = stream(seed)
        self.truth = draw.normal(size=FEATURES) / np.sqrt(FEATURES)
        self.x = draw.normal(size=(SAMPLES, FEATURES))
        self.y = self.x @ self.truth + draw.normal(size=SAMPLES)

    def validation(self, weights: Floats) -> float:
        """Expected squared error on fresh data."""
        return float(1.0 + ((weights - self.truth) ** 2).sum())

    def optimum(self) -> float:
        """The best rate of dropout, to 0.005."""
        squares = np.diag((self.x**2).sum(0))
        grid = np.linspace(0.0, 0.9, 181)
        solved = [np.linalg.solve(self.x.T @ self.x + p / (1 - p) * squares, self.x.T @ self.y) for p in grid]
        return float(grid[int(np.argmin([self.validation(weights) for weights in solved]))])


def found_dropout(problem: Regression, seed: int) -> float:
    """The members' median rate, as a mean over the later half of the rounds.

    The preset ``published`` with nothing but competition; members begin at 0.05.
    """
    draw = stream(seed, 1)
    genes = {
        "dropout": FloatAllele(value=0.05, domain=(0.0, 0.9), specialised=True),
        "lr": LogFloatAllele(value=RATE, domain=(1e-3, 1.0), can_mutate=False),
    }
    config = preset("published", population_size=MEMBERS, round_length=STEPS, duty_cycle=1.0)
    state, weights, late = found(config, genes, seed), np.zeros((MEMBERS, FEATURES)), []
    for number in range(ROUNDS):
        folded = fold(state, RoundStarted(round=number))
        (plan,) = folded.decisions
        assert isinstance(plan, RoundPlan)
        assert [phase.kind for phase in plan.phases] == ["competitive"]
        rates = np.array([genome.values()["dropout"] for genome in plan.genomes if genome is not None])
        weights, average = _trained(problem, weights, rates, draw)
        state, closed = _reported(folded.state, [problem.validation(own) for own in average])
        before = weights.copy()
        for move in closed.moves:
            weights[move.target] = before[move.source]
        if number >= ROUNDS // 2:
            late.append(float(np.median(rates)))
    return float(np.mean(late))


def _trained(
    problem: Regression, weights: Floats, rates: Floats, draw: np.random.Generator
) -> tuple[Floats, Floats]:
    """The members' weights after a round, and their mean over its steps; both (P, features)."""
    keep = 1.0 - rates[:, None, None]
    average = np.zeros_like(weights)
    for _ in range(STEPS):
        dropped = problem.x * (draw.random((MEMBERS, SAMPLES, FEATURES)) >= 1.0 - keep) / keep
        errors = np.einsum("psf,pf->ps", dropped, weights) - problem.y
        weights = weights - RATE * np.einsum("psf,ps->pf", dropped, errors) / SAMPLES
        average += weights / STEPS
    return weights, average


def _reported(state: ClanState, losses: list[float]) -> tuple[ClanState, RoundClosed]:
    closed = None
    for member, loss in enumerate(losses):
        folded = fold(state, FitnessReported(round=state.round, member=member, fitness=loss))
        state, closed = folded.state, (*folded.decisions, closed)[0]
    assert isinstance(closed, RoundClosed)
    return state, closed
