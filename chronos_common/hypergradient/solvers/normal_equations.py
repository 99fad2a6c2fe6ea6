"""Conjugate gradient on the normal equations, for any A that can be transposed."""

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
class NormalConjugateGradient(LinearSolver):
    """Conjugate gradient on AᵀA x = Aᵀ b (CGNR; Saad, *Iterative Methods*, algorithm 8.4).

    For systems that are indefinite, not symmetric, or singular (then it goes to the least-squares solution);
    the residual falls with every step. It needs of the order of κ(A) steps where conjugate gradient needs
    √κ(A).

    Cost: a product with A and one with Aᵀ per step, and one more of each. Memory: six vectors of b's size.

    Args:
        steps: the most iterations.
        tolerance: relative residual at which it stops early.

    Raises:
        ConfigurationError: a value out of range.
    """

    name: ClassVar[str] = "normal_cg"
    symmetric_only: ClassVar[bool] = False

    steps: int = 30
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        require_positive(steps=self.steps)
        require_tolerance(self.tolerance)

    def solve(
        self, system: LinearSystem, *, guess: Tensor | None = None, memory: Tensors | None = None
    ) -> LinearSolution:
        """See the base class. A breakdown: Aᵀ r = 0 before r is, so that b lies outside the range of A."""
        product, transposed = system.product, system.transposed or system.product
        x, r, size, norm_b = start(system, guess)
        done = trivial(system.b, norm_b)
        if done is not None:
            return done
        target = reachable(self.tolerance, system.b) * norm_b
        z = transposed(r)
        zz = float(torch.dot(z, z))
        p, iterations, breakdown, largest = z.clone(), 0, False, 0.0
        while size > target and iterations < self.steps:
            if not math.isfinite(zz):
                return not_finite(system.b, iterations)
            slope = math.sqrt(zz) / size
            largest = max(largest, slope)
            if slope <= 4 * torch.finfo(x.dtype).eps * largest or zz == 0.0:
                breakdown = True
                break
            ap = product(p)
            along = float(torch.dot(ap, ap))
            if along == 0.0:
                breakdown = True
                break
            alpha = zz / along
            x.add_(p, alpha=alpha)
            r.sub_(ap, alpha=alpha)
            size = norm(r)
            z = transposed(r)
            before, zz = zz, float(torch.dot(z, z))
            p.mul_(zz / before).add_(z)
            iterations += 1
        if not math.isfinite(size):
            return not_finite(system.b, iterations)
        return LinearSolution(
            x=x,
            iterations=iterations,
            residual=size / norm_b,
            converged=size <= target,
            breakdown=breakdown,
        )
