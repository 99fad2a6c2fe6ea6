"""The whole matrix, for small systems and as a reference."""

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
    require_positive,
    trivial,
)
from chronos_common.problem import Tensors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exact(LinearSolver):
    """Builds A column by column and factors it.

    Solves what has a solution, also where A is indefinite; a singular A gives the least-squares solution of the
    smallest norm.

    Cost: n products and O(n³) arithmetic. Memory: 2 n² numbers: 64 MB in float64 at n = 2000.

    Args:
        max_size: the largest n, 2000 by default: beyond it the cost is no longer that of a reference.

    Raises:
        ConfigurationError: a value out of range; in :meth:`solve` a system larger than ``max_size``.
    """

    name: ClassVar[str] = "exact"
    symmetric_only: ClassVar[bool] = False

    max_size: int = 2000

    def __post_init__(self) -> None:
        require_positive(max_size=self.max_size)

    def solve(
        self, system: LinearSystem, *, guess: Tensor | None = None, memory: Tensors | None = None
    ) -> LinearSolution:
        """See the base class. A breakdown: A is singular, or symmetric and not positive definite."""
        b = system.b
        if len(b) > self.max_size:
            raise ConfigurationError(
                f"the exact solver builds a {len(b)} × {len(b)} matrix, and its max_size is {self.max_size}; "
                "use an iterative solver ('cg'), or raise max_size"
            )
        done = trivial(b, norm(b))
        if done is not None:
            return done
        matrix = torch.stack([system.product(unit) for unit in torch.eye(len(b)).to(b)], dim=1)
        if not math.isfinite(norm(matrix)):
            return not_finite(b)
        definite = True
        if system.transposed is None:
            matrix = (matrix + matrix.T) / 2
            definite = int(torch.linalg.cholesky_ex(matrix).info) == 0
        x, singular = _solved(matrix, b)
        residual = norm(b - matrix @ x) / norm(b)
        return LinearSolution(
            x=x,
            iterations=len(b),
            residual=residual,
            converged=residual <= torch.finfo(b.dtype).eps ** 0.5,
            breakdown=singular or not definite,
        )


def _solved(matrix: Tensor, b: Tensor) -> tuple[Tensor, bool]:
    """x, and whether the matrix is singular up to rounding."""
    factors, pivots, info = torch.linalg.lu_factor_ex(matrix)
    diagonal = factors.diagonal().abs()
    rounding = len(b) * torch.finfo(b.dtype).eps * float(diagonal.max())
    if int(info) == 0 and float(diagonal.min()) > rounding:
        return torch.linalg.lu_solve(factors, pivots, b.unsqueeze(1)).squeeze(1), False
    # gelsd, the one that knows about rank, exists on the CPU only.
    cpu = torch.linalg.lstsq(matrix.cpu(), b.cpu().unsqueeze(1), driver="gelsd").solution
    return cpu.squeeze(1).to(b), True
