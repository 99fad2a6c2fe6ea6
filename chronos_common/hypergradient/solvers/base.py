"""The interface of linear solvers: a system that exists only as products, and what solving it gave."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_common.problem import Tensors

Product = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LinearSystem:
    """A x = b.

    Attributes:
        product: v -> A v for vectors of b's shape. The vector must not be kept: it may be overwritten.
        b: right-hand side, shape ``(n,)``; n may be 0.
        transposed: v -> Aᵀ v; None where A is symmetric.
        damping: the multiple of the identity that A already contains.
        seed: where a solver that draws random numbers begins.
    """

    product: Product
    b: Tensor
    transposed: Product | None = None
    damping: float = 0.0
    seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LinearSolution:
    """An approximate solution of A x = b.

    Attributes:
        x: the iterate, shape of b.
        iterations: steps of the solver; a solver's docstring says how many products each costs.
        residual: ‖b - A x‖ / ‖b‖; 0 for b = 0; NaN if b or a product is not finite, and then nothing else
            means anything.
        converged: the residual met the tolerance.
        breakdown: A is not what the solver needs: not positive definite, singular, or, for a fixed-point
            iteration, not a contraction.
        memory: what the solver wants back at the next system like this one, beside ``x``; named tensors.
    """

    x: Tensor
    iterations: int
    residual: float
    converged: bool
    breakdown: bool
    memory: Tensors = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearSolver(ABC):
    """Solves linear systems; its fields are its settings.

    A subclass is one file, a row in ``solvers.SOLVERS`` and a row in the solvers' contract test.
    """

    name: ClassVar[str]
    """Its key in the table, and the prefix of its diagnostics."""

    symmetric_only: ClassVar[bool] = True
    """Whether A must be symmetric."""

    random: ClassVar[bool] = False
    """Whether it uses :attr:`LinearSystem.seed`."""

    @abstractmethod
    def solve(
        self, system: LinearSystem, *, guess: Tensor | None = None, memory: Tensors | None = None
    ) -> LinearSolution:
        """Solve A x = b.

        Args:
            system: the system. Where :attr:`symmetric_only`, ``transposed`` must be None.
            guess: where to start, of b's shape; one that is worse than zero is ignored.
            memory: :attr:`LinearSolution.memory` of an earlier system; what does not fit is ignored.
        """


def start(system: LinearSystem, guess: Tensor | None) -> tuple[Tensor, Tensor, float, float]:
    """Where an iteration begins: x and b - A x (both its own to overwrite), ‖b - A x‖ and ‖b‖.

    A guess costs one product, and is taken only where it beats zero.
    """
    b = system.b
    norm_b = norm(b)
    if guess is not None and 0.0 < norm_b < math.inf:
        rest = b - system.product(guess)
        size = norm(rest)
        if size < norm_b:
            return guess.clone(), rest, size, norm_b
    return torch.zeros_like(b), b.clone(), norm_b, norm_b


def trivial(b: Tensor, norm_b: float) -> LinearSolution | None:
    """The solution where there is nothing to solve: b is zero, empty, or not finite; else None."""
    if norm_b == 0.0:
        return LinearSolution(
            x=torch.zeros_like(b), iterations=0, residual=0.0, converged=True, breakdown=False
        )
    return None if math.isfinite(norm_b) else not_finite(b)


def not_finite(b: Tensor, iterations: int = 0) -> LinearSolution:
    """What a solver returns when b or a product is not finite."""
    return LinearSolution(
        x=torch.zeros_like(b), iterations=iterations, residual=math.nan, converged=False, breakdown=False
    )


def reachable(tolerance: float, b: Tensor) -> float:
    """``tolerance``, but not less than 4 units of b's rounding."""
    return max(tolerance, 4 * torch.finfo(b.dtype).eps)


def norm(v: Tensor) -> float:
    """‖v‖, Euclidean."""
    return float(torch.linalg.vector_norm(v))


def require_positive(**settings: int) -> None:
    """Check numbers of steps and the like.

    Raises:
        ConfigurationError: one is below 1.
    """
    for name, value in settings.items():
        if value < 1:
            raise ConfigurationError(f"{name} must be at least 1, not {value}")


def require_tolerance(tolerance: float) -> None:
    """Check a relative residual.

    Raises:
        ConfigurationError: negative, or not a number.
    """
    if not tolerance >= 0.0:
        raise ConfigurationError(f"tolerance must be at least 0, not {tolerance}")
