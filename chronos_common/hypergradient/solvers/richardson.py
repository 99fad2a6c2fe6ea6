"""x <- x + η (b - A x): what the Neumann series and fixed-point iteration share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from chronos_common.hypergradient.solvers.base import (
    LinearSolution,
    LinearSystem,
    norm,
    not_finite,
    reachable,
    start,
    trivial,
)

GROWTH = 1e3
"""How far the residual may rise above its start before the iteration is called divergent: where A is not
symmetric (an update with momentum) it may rise on the way to convergence."""


def richardson(
    system: LinearSystem,
    *,
    guess: Tensor | None,
    eta: float,
    max_steps: int,
    tolerance: float,
    definite: bool = False,
) -> LinearSolution:
    """Iterate at most ``max_steps`` times, one product each.

    Returns:
        The iterate with the smallest residual; ``breakdown`` if the residual rose to :data:`GROWTH` times its
        start (the spectral radius of I - η A is above 1) or, where A should be ``definite``, if rᵀAr ≤ 0.
    """
    x, r, size, norm_b = start(system, guess)
    done = trivial(system.b, norm_b)
    if done is not None:
        return done
    target, limit = reachable(tolerance, system.b) * norm_b, GROWTH * size
    best, best_size, iterations, curved = x.clone(), size, 0, True
    while size > target and size <= limit and iterations < max_steps:
        ar = system.product(r)
        curved = not definite or float(torch.dot(r, ar)) > 0.0
        if not curved and math.isfinite(norm(ar)):
            break
        x.add_(r, alpha=eta)
        r.sub_(ar, alpha=eta)
        size, iterations = norm(r), iterations + 1
        if not math.isfinite(size):
            return not_finite(system.b, iterations)
        if size < best_size:
            best.copy_(x)
            best_size = size
    return LinearSolution(
        x=best,
        iterations=iterations,
        residual=best_size / norm_b,
        converged=best_size <= target,
        breakdown=size > limit or not curved,
    )


def largest_curvature(system: LinearSystem, vector: Tensor | None, *, steps: int) -> tuple[float, Tensor]:
    """A lower bound on the spectral radius of a symmetric A by power iteration, and the vector it ended at.

    Args:
        system: its ``product`` is called ``steps`` times.
        vector: where to start, for example where an earlier call ended; None is a random vector.
        steps: iterations. From a random start the expected relative error is at most
            0.871 ln(n) / (steps - 1) (Kuczyński and Woźniakowski 1992).
    """
    generator = torch.Generator().manual_seed(system.seed)
    v = vector if vector is not None else torch.randn(system.b.shape, generator=generator).to(system.b)
    bound, size = 0.0, norm(v)
    for _ in range(steps):
        if not 0.0 < size < math.inf:
            break
        v = v / size
        after = system.product(v.clone())
        size = norm(after)
        bound, v = max(bound, size), after
    return bound if math.isfinite(size) else math.nan, v / size if 0.0 < size < math.inf else v
