"""The interface of conditions: the equation that a solved θ satisfies, at the end of one inner loop."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from chronos_common.hypergradient.batch_means import Batches
from chronos_common.hypergradient.solvers import LinearSystem
from chronos_common.problem import InnerProblem, Tensors, Trajectory


class Condition(ABC):
    """F(θ, λ) = 0 with its first derivatives at one point, and the outer loss there.

    Attributes:
        outer_value: the outer loss.
    """

    outer_value: float

    @abstractmethod
    def __init__(self, trajectory: Trajectory, problem: InnerProblem, *, batches: Batches) -> None:
        """Evaluate both losses at the end of ``trajectory``."""

    @abstractmethod
    def system(self, *, damping: float, seed: int) -> LinearSystem:
        """(∂F/∂θ + damping · I)ᵀ v = ∂L_out/∂θ.  ``seed`` is for solvers that draw random numbers."""

    @abstractmethod
    def hypergradient(self, v: Tensor) -> Tensors:
        """dL_out/dλ from the solution ``v``, for the outer parameters that the inner loss contains.

        The others have no implicit hypergradient, which is not the same as one of zero.
        """
