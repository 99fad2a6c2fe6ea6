"""Conjugate gradient for symmetric positive definite operators that exist only as products."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from chronos_common.hypergradient.solvers.base import (
    LinearSolution,
    LinearSolver,
    LinearSystem,
    require_positive,
    require_tolerance,
)
from chronos_common.problem import Tensors


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConjugateGradient(LinearSolver):
    """Conjugate gradient, for symmetric positive definite A.

    Cost: one product a step, and one for a guess. Memory: four vectors of b's size.

    Args:
        steps: the most iterations.
        tolerance: relative residual at which it stops early.

    Raises:
        ConfigurationError: a value out of range.
    """

    name: ClassVar[str] = "cg"

    steps: int = 10
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        require_positive(steps=self.steps)
        require_tolerance(self.tolerance)

    def solve(
        self, system: LinearSystem, *, guess: Tensor | None = None, memory: Tensors | None = None
    ) -> LinearSolution:
        """See the base class. ``iterations`` counts products, without that of a guess."""
        return conjugate_gradient(
            system.product, system.b, x0=guess, max_steps=self.steps, tolerance=self.tolerance
        )


def conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    x0: Tensor | None = None,
    max_steps: int,
    tolerance: float,
) -> LinearSolution:
    """Solve A x = b (Hestenes and Stiefel 1952; Saad, *Iterative Methods*, algorithm 6.18).

    Args:
        product: v -> A v for vectors of b's shape; A symmetric positive definite. The vector must not be
            kept: it is overwritten.
        b: right-hand side, shape ``(n,)``; n may be 0.
        x0: a guess. One that is worse than zero is ignored.
        max_steps: the most iterations.
        tolerance: stop at ‖b - A x‖ ≤ tolerance · ‖b‖; not less than 4 units of b's rounding.

    Returns:
        The last iterate, which of all so far has the smallest error in the A-norm, with the residual of the
        recurrence. On a breakdown, a direction p with pᵀAp ≤ 0 (up to rounding), it is the iterate before it.
    """
    epsilon = torch.finfo(b.dtype).eps
    norm_b = float(torch.linalg.vector_norm(b))
    x, r = torch.zeros_like(b), b.clone()
    if norm_b == 0.0:
        return LinearSolution(x=x, iterations=0, residual=0.0, converged=True, breakdown=False)
    if not math.isfinite(norm_b):
        return LinearSolution(x=x, iterations=0, residual=math.nan, converged=False, breakdown=False)
    rr = norm_b**2
    if x0 is not None:
        guess = b - product(x0)
        rr_guess = float(torch.dot(guess, guess))
        if rr_guess < rr:
            x, r, rr = x0.clone(), guess, rr_guess
    target = (max(tolerance, 4 * epsilon) * norm_b) ** 2

    p, pp = r.clone(), rr
    largest_curvature, iterations, breakdown = 0.0, 0, False
    while rr > target and iterations < max_steps:
        ap = product(p)
        pap = torch.dot(p, ap).item()
        if not math.isfinite(pap):
            rr = math.nan
            break
        curvature = pap / pp
        largest_curvature = max(largest_curvature, curvature)
        # A singular A gives curvature of the size of rounding, and a step of the size of its inverse.
        if not curvature > epsilon * largest_curvature:
            breakdown = True
            break
        alpha = rr / pap
        x.add_(p, alpha=alpha)
        r.sub_(ap, alpha=alpha)
        rr_next = torch.dot(r, r).item()
        beta = rr_next / rr
        torch.add(r, p, alpha=beta, out=p)
        rr, pp = rr_next, rr_next + beta * beta * pp  # r is orthogonal to the old p
        iterations += 1
    return LinearSolution(
        x=x,
        iterations=iterations,
        residual=math.sqrt(rr) / norm_b,
        converged=rr <= target,
        breakdown=breakdown,
    )
