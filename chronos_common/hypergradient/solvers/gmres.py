"""GMRES, for any square A."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from chronos_common.hypergradient.solvers.base import (
    LinearSolution,
    LinearSolver,
    LinearSystem,
    norm,
    not_finite,
    reachable,
    require_positive,
    require_tolerance,
    start,
    trivial,
)
from chronos_common.problem import Tensors


@dataclasses.dataclass(frozen=True, kw_only=True)
class GMRES(LinearSolver):
    """Generalised minimal residual with restarts (Saad and Schultz 1986; Saad, algorithm 6.11).

    Of all vectors in the Krylov space it takes the one with the smallest residual; A may be indefinite and
    not symmetric.

    Cost: one product a step, and one for a guess and for each restart. Memory: ``restart`` + 3 vectors of b's
    size.

    Args:
        steps: the most products with A, over all restarts.
        restart: basis vectors that are kept before starting anew.
        tolerance: relative residual at which it stops early.

    Raises:
        ConfigurationError: a value out of range.
    """

    name: ClassVar[str] = "gmres"
    symmetric_only: ClassVar[bool] = False

    steps: int = 30
    restart: int = 30
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        require_positive(steps=self.steps, restart=self.restart)
        require_tolerance(self.tolerance)

    def solve(
        self, system: LinearSystem, *, guess: Tensor | None = None, memory: Tensors | None = None
    ) -> LinearSolution:
        """See the base class. A breakdown: the Krylov space ended before the residual did; A is singular."""
        x, r, size, norm_b = start(system, guess)
        done = trivial(system.b, norm_b)
        if done is not None:
            return done
        target = reachable(self.tolerance, system.b) * norm_b
        iterations, breakdown = 0, False
        while size > target and iterations < self.steps and not breakdown:
            if iterations:
                r = system.b - system.product(x)
                size = norm(r)
            cycle = _Cycle(system, r, size, min(self.restart, self.steps - iterations, len(r)), target)
            x = x + cycle.correction()
            size, breakdown, iterations = cycle.residual, cycle.breakdown, iterations + cycle.steps
            if not math.isfinite(size):
                return not_finite(system.b, iterations)
        return LinearSolution(
            x=x,
            iterations=iterations,
            residual=size / norm_b,
            converged=size <= target,
            breakdown=breakdown and size > target,
        )


_ROUNDING = 1e3
"""Units of rounding, of the largest ‖A v‖, below which a pivot is called zero."""


class _Cycle:
    """Arnoldi from r until the target, the length, or the end of the space."""

    def __init__(self, system: LinearSystem, r: Tensor, size: float, length: int, target: float) -> None:
        self._basis = r.new_empty(length + 1, len(r))
        self._basis[0] = r / size
        # Small and sequential: on the CPU in float64, whatever b is.
        self._triangle = torch.zeros(length, length, dtype=torch.float64)
        self._right, self._rotations = [size], list[tuple[float, float]]()
        self.steps, self.breakdown, self._scale = 0, False, 0.0
        while self.steps < length and self.residual > target and not self.breakdown:
            self._extend(system.product(self._basis[self.steps].clone()))

    @property
    def residual(self) -> float:
        return abs(self._right[-1])

    def _extend(self, w: Tensor) -> None:
        j = self.steps
        size, known = norm(w), self._basis[: j + 1]
        column = known @ w
        w = w - known.T @ column
        again = known @ w  # once is not enough in floating point, twice is (Giraud et al. 2005)
        w -= known.T @ again
        height = norm(w)
        *entries, last = [*(column + again).tolist(), height]
        for i, (c, s) in enumerate(self._rotations):
            entries[i : i + 2] = self._turned(entries, i, c, s)
        diagonal = math.hypot(entries[j], last)
        self._scale = max(self._scale, size)
        rounding = _ROUNDING * torch.finfo(w.dtype).eps * self._scale
        if not diagonal > rounding:  # NaN ends here too, as a residual that is not finite
            self.breakdown = True
            if not math.isfinite(size):
                self._right[-1] = math.nan
            return
        c, s = entries[j] / diagonal, last / diagonal
        self._rotations.append((c, s))
        self._triangle[: j + 1, j] = torch.tensor([*entries[:j], diagonal], dtype=torch.float64)
        self._right[j:] = [c * self._right[j], -s * self._right[j]]
        self.steps += 1
        if height > rounding:
            self._basis[j + 1] = w / height
        else:
            self.breakdown = True

    @staticmethod
    def _turned(entries: list[float], i: int, c: float, s: float) -> list[float]:
        a, b = entries[i], entries[i + 1]
        return [c * a + s * b, c * b - s * a]

    def correction(self) -> Tensor:
        """What to add to x."""
        n = self.steps
        right = torch.tensor(self._right[:n], dtype=torch.float64).unsqueeze(1)
        y = torch.linalg.solve_triangular(self._triangle[:n, :n], right, upper=True).squeeze(1)
        return torch.mv(self._basis[:n].T, y.to(self._basis))
