"""Chronos, through the interface that its users have."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from benchmarks.hyper.cases import Case
from chronos_common.hypergradient import HypergradientEstimator, ImplicitDifferentiation


def conjugate_gradient(case: Case, steps: int) -> Callable[[], list[Tensor]]:
    """``ImplicitDifferentiation`` as released, without damping, warm start and early stop."""
    estimator = ImplicitDifferentiation(cg_steps=steps, damping=0.0, tolerance=0.0, warm_start=False)
    return prepared(case, estimator)


def prepared(case: Case, estimator: HypergradientEstimator) -> Callable[[], list[Tensor]]:
    """One call of ``compute_hypergradient`` at the case's point."""
    problem, trajectory = case.trajectory()

    def once() -> list[Tensor]:
        return list(estimator.compute_hypergradient(trajectory, problem).gradient.values())

    return once
