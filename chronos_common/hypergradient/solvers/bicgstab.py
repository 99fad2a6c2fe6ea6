"""BiCGSTAB, for any square A, in a fixed amount of memory."""

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
class BiCGSTAB(LinearSolver):
    """Stabilised biconjugate gradient (van der Vorst 1992; Saad, algorithm 7.7).

    The residual may rise on the way; the iterate with the smallest is returned.

    Cost: two products a step, and one for a guess. Memory: nine vectors of b's size, however many steps.

    Args:
        steps: the most iterations.
        tolerance: relative residual at which it stops early.

    Raises:
        ConfigurationError: a value out of range.
    """

    name: ClassVar[str] = "bicgstab"
    symmetric_only: ClassVar[bool] = False

    steps: int = 15
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        require_positive(steps=self.steps)
        require_tolerance(self.tolerance)

    def solve(
        self, system: LinearSystem, *, guess: Tensor | None = None, memory: Tensors | None = None
    ) -> LinearSolution:
        """See the base class. A breakdown: a scalar product that is divided by has become zero."""
        x, r, size, norm_b = start(system, guess)
        done = trivial(system.b, norm_b)
        if done is not None:
            return done
        target = reachable(self.tolerance, system.b) * norm_b
        epsilon = torch.finfo(x.dtype).eps
        shadow, p, rho = r.clone(), r.clone(), size * size
        best, best_size, iterations, breakdown = x, size, 0, False
        while size > target and iterations < self.steps:
            ap = system.product(p)
            along = float(torch.dot(ap, shadow))
            if not math.isfinite(along):
                return not_finite(system.b, iterations)
            if abs(along) <= epsilon * norm(ap) * norm(shadow) or rho == 0.0:
                breakdown = True
                break
            alpha = rho / along
            s = r - alpha * ap
            a_s = system.product(s)
            denominator = float(torch.dot(a_s, a_s))
            omega = float(torch.dot(a_s, s)) / denominator if denominator else 0.0
            x = x.add(p, alpha=alpha).add_(s, alpha=omega)
            r = s - omega * a_s
            size, iterations = norm(r), iterations + 1
            if not math.isfinite(size):
                return not_finite(system.b, iterations)
            if size < best_size:
                best, best_size = x, size
            before, rho = rho, float(torch.dot(r, shadow))
            if omega == 0.0:
                breakdown = size > target
                break
            p = r + (rho / before) * (alpha / omega) * (p - omega * ap)
        return LinearSolution(
            x=best,
            iterations=iterations,
            residual=best_size / norm_b,
            converged=best_size <= target,
            breakdown=breakdown,
        )
