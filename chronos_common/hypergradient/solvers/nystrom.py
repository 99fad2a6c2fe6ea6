"""A low-rank inverse from a random sketch, and conjugate gradient with it as a preconditioner."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError
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

_BASIS = "basis"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nystrom(LinearSolver):
    """(U Λ Uᵀ + damping · I)⁻¹ b with H ≈ U Λ Uᵀ of rank k (Hataya and Yamada, AISTATS 2023), refined.

    The approximation is the stabilised Nyström one (Frangella, Tropp and Udell 2023, algorithm 2.1) of
    H = A - damping · I, which must be positive semidefinite; the sketch is Gaussian, seeded by the system, and
    after the first system it is the last one's U, whose columns turn towards the largest eigenvalues from
    system to system. What H does outside of U counts as zero: alone, with ``refine=0``, that is good only where
    all but k eigenvalues are small against the damping. So ``refine`` steps of conjugate gradient follow, with
    the approximation as preconditioner (their algorithm 5.3): they see a matrix without its k largest
    eigenvalues. It is exact where k reaches b's size.

    Cost: k products in any order (they do not wait for each other's result), one a refining step, one or two
    more for residuals, and O(n k²) arithmetic. Memory: 3 k + 6 vectors of b's size, k of them between systems.

    Args:
        rank: k; at most b's size is used.
        refine: the most refining steps.
        tolerance: relative residual at which refining stops early.

    Raises:
        ConfigurationError: a value out of range; in :meth:`solve` a system without damping.
    """

    name: ClassVar[str] = "nystrom"
    random: ClassVar[bool] = True

    rank: int = 10
    refine: int = 10
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        require_positive(rank=self.rank)
        if self.refine < 0:
            raise ConfigurationError(f"refine must be at least 0, not {self.refine}")
        require_tolerance(self.tolerance)

    def solve(
        self, system: LinearSystem, *, guess: Tensor | None = None, memory: Tensors | None = None
    ) -> LinearSolution:
        """See the base class. ``iterations`` counts sketching and refining products.

        A breakdown: the sketch met a negative eigenvalue of H, or refining one of A.
        """
        if not system.damping > 0.0:
            raise ConfigurationError("the Nyström solver divides by the damping; set it above 0")
        norm_b = norm(system.b)
        done = trivial(system.b, norm_b)
        if done is not None:
            return done
        sketch = self._sketch(system, (memory or {}).get(_BASIS))
        rows = [system.product(row.clone()) for row in sketch.T.contiguous()]
        images = torch.stack(rows, dim=1) - system.damping * sketch
        if not math.isfinite(norm(images)):
            return not_finite(system.b)
        inverse = _Inverse(sketch, images, system.damping)
        x, r = self._best_start(system, inverse, guess)
        solution = self._refined(system, inverse, x, r, norm_b)
        return dataclasses.replace(
            solution,
            iterations=solution.iterations + sketch.shape[1],
            breakdown=solution.breakdown or inverse.indefinite,
            memory={_BASIS: inverse.basis},
        )

    def _best_start(
        self, system: LinearSystem, inverse: _Inverse, guess: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """x and its residual; if it is to be refined, the best of the approximation, the guess and zero."""
        x = inverse.solved(system.b)
        r = system.b - system.product(x.clone())
        if not self.refine:
            return x, r
        other, rest, size, _ = start(system, guess)
        return (other, rest) if size < norm(r) else (x, r)

    def _refined(
        self, system: LinearSystem, inverse: _Inverse, x: Tensor, r: Tensor, norm_b: float
    ) -> LinearSolution:
        target = reachable(self.tolerance, system.b) * norm_b
        size, iterations, breakdown, rz = norm(r), 0, False, 1.0
        p = torch.zeros_like(r)
        while size > target and iterations < self.refine:
            z = inverse.preconditioned(r)
            before, rz = rz, float(torch.dot(r, z))
            p = z.add_(p, alpha=rz / before)
            ap = system.product(p.clone())
            curvature = float(torch.dot(p, ap))
            if not math.isfinite(curvature):
                return not_finite(system.b, iterations)
            if not curvature > 0.0:
                breakdown = True
                break
            x.add_(p, alpha=rz / curvature)
            r.sub_(ap, alpha=rz / curvature)
            size, iterations = norm(r), iterations + 1
        if not math.isfinite(size):
            return not_finite(system.b, iterations)
        return LinearSolution(
            x=x,
            iterations=iterations,
            residual=size / norm_b,
            converged=size <= target,
            breakdown=breakdown,
        )

    def _sketch(self, system: LinearSystem, last: Tensor | None) -> Tensor:
        """An orthonormal (n, k)."""
        shape = (len(system.b), min(self.rank, len(system.b)))
        if last is not None and last.shape == shape:
            return last.to(system.b)
        generator = torch.Generator().manual_seed(system.seed)
        gaussian = torch.randn(shape, generator=generator, dtype=torch.float64).to(system.b)
        sketch: Tensor = torch.linalg.qr(gaussian).Q
        return sketch


class _Inverse:
    """(U Λ Uᵀ + damping · I)⁻¹ from a sketch Ω (n, k) with orthonormal columns, and H Ω.

    Attributes:
        basis: U, (n, k).
        indefinite: H has a negative eigenvalue inside the sketch.
    """

    def __init__(self, sketch: Tensor, images: Tensor, damping: float) -> None:
        epsilon = torch.finfo(images.dtype).eps
        core = sketch.T @ images
        eigenvalues, vectors = torch.linalg.eigh((core + core.T) / 2)
        size = norm(images)
        self.indefinite = bool(eigenvalues[0] < -(epsilon**0.5) * size)
        # The shift keeps the root alive where H has less than rank k; it is taken off again below.
        shift = math.sqrt(len(images)) * epsilon * size + torch.finfo(images.dtype).tiny
        vectors = vectors * (eigenvalues > -shift)  # negative ones have no root: H counts as zero there
        root = (images + shift * sketch) @ (vectors / (eigenvalues.clamp_min(0.0) + shift).sqrt())
        self.basis, singular, _ = torch.linalg.svd(root, full_matrices=False)
        self._eigenvalues = (singular.square() - shift).clamp_min(0.0) + damping
        self._damping, self._smallest = damping, float(self._eigenvalues.min())

    def solved(self, b: Tensor) -> Tensor:
        """The inverse of the approximation: outside of U it is 1/damping."""
        return self._apply(b, outside=self._damping)

    def preconditioned(self, r: Tensor) -> Tensor:
        """The same with the smallest eigenvalue in U outside of it: what H really does there is of that size."""
        return self._apply(r, outside=self._smallest)

    def _apply(self, b: Tensor, *, outside: float) -> Tensor:
        # Taking U out of b first loses less than the difference in Woodbury's formula.
        along = self.basis.T @ b
        rest = (b - self.basis @ along) / outside
        return torch.addmv(rest, self.basis, along / self._eigenvalues)
