"""The Neumann series with a stated step size."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.solvers.base import (
    LinearSolution,
    LinearSolver,
    LinearSystem,
    norm,
    not_finite,
    require_positive,
    require_tolerance,
    trivial,
)
from chronos_common.hypergradient.solvers.richardson import largest_curvature, richardson
from chronos_common.problem import Tensors

_VECTOR = "power"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neumann(LinearSolver):
    """x = η Σ (I - η A)ᵏ b for symmetric positive definite A (Lorraine et al., AISTATS 2020).

    From a guess x₀ the series is of the residual. It converges where η < 2/L, L the largest eigenvalue of A;
    the error falls by 1 - η μ a step, μ the smallest.

    Cost: one product a step, one for a guess, ``power_steps`` more if η is chosen here. Memory: four vectors of
    b's size.

    Args:
        steps: the most terms.
        step_size: η; None takes 1/L̂, with L̂ ≤ L from ``power_steps`` power iterations, which go on from
            where the last system's ended. That converges while L̂ > L/2.
        power_steps: see ``step_size``.
        tolerance: relative residual at which it stops early.

    Raises:
        ConfigurationError: a value out of range.
    """

    name: ClassVar[str] = "neumann"
    random: ClassVar[bool] = True

    steps: int = 30
    step_size: float | None = None
    power_steps: int = 10
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        require_positive(steps=self.steps, power_steps=self.power_steps)
        require_tolerance(self.tolerance)
        if self.step_size is not None and not 0.0 < self.step_size < math.inf:
            raise ConfigurationError(f"step_size must be None or above 0, not {self.step_size}")

    def solve(
        self, system: LinearSystem, *, guess: Tensor | None = None, memory: Tensors | None = None
    ) -> LinearSolution:
        """See the base class. A breakdown: A is not positive definite, or η is above 2/L."""
        done = trivial(system.b, norm(system.b))
        if done is not None:
            return done
        eta, kept = self.step_size, dict[str, Tensor]()
        if eta is None:
            vector = (memory or {}).get(_VECTOR)
            if vector is not None and vector.shape != system.b.shape:
                vector = None
            largest, vector = largest_curvature(system, vector, steps=self.power_steps)
            if not math.isfinite(largest):
                return not_finite(system.b)
            eta, kept = 1.0 / largest if largest > 0.0 else 1.0, {_VECTOR: vector}
        solution = richardson(
            system, guess=guess, eta=eta, max_steps=self.steps, tolerance=self.tolerance, definite=True
        )
        return dataclasses.replace(solution, memory=kept)
