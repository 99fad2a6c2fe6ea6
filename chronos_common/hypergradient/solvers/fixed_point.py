"""Fixed-point iteration: the transposed inner update, again and again."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from torch import Tensor

from chronos_common.hypergradient.solvers.base import (
    LinearSolution,
    LinearSolver,
    LinearSystem,
    require_positive,
    require_tolerance,
)
from chronos_common.hypergradient.solvers.richardson import richardson
from chronos_common.problem import Tensors


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedPoint(LinearSolver):
    """x <- b + (I - A) x, which for A = I - ∂Φ/∂θᵀ is x <- b + ∂Φ/∂θᵀ x (Grazzi et al., ICML 2020).

    It converges at the rate of the map Φ itself, where that is a contraction.

    Cost: one product a step, and one for a guess. Memory: four vectors of b's size.

    Args:
        steps: the most iterations.
        tolerance: relative residual at which it stops early.

    Raises:
        ConfigurationError: a value out of range.
    """

    name: ClassVar[str] = "fixed_point"
    symmetric_only: ClassVar[bool] = False

    steps: int = 50
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        require_positive(steps=self.steps)
        require_tolerance(self.tolerance)

    def solve(
        self, system: LinearSystem, *, guess: Tensor | None = None, memory: Tensors | None = None
    ) -> LinearSolution:
        """See the base class. A breakdown: the residual grows without end: the map is no contraction."""
        return richardson(system, guess=guess, eta=1.0, max_steps=self.steps, tolerance=self.tolerance)
