"""One step of the linear solve, with the second derivatives by finite differences (DARTS; T1-T2)."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient
from chronos_common.hypergradient.slopes import (
    central_difference,
    combined,
    dot,
    explain_unused_in_losses,
    outer_slope,
)
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, Tensors, Trajectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class FiniteDifferenceConfig:
    """See :class:`FiniteDifference`.

    Raises:
        ConfigurationError: a value that is not above 0.
    """

    step_size: float | None = None
    radius: float = 0.01

    def __post_init__(self) -> None:
        if self.step_size is not None and not self.step_size > 0.0:
            raise ConfigurationError(f"step_size must be None or above 0, not {self.step_size}")
        if not self.radius > 0.0:
            raise ConfigurationError(f"radius must be above 0, not {self.radius}")


class FiniteDifference(HypergradientEstimator):
    """T1-T2 (Luketina et al., ICML 2016) with DARTS's finite difference (Liu et al., ICLR 2019).

    ::

        dL_out/dλ ≈ ∂L_out/∂λ - ξ ∂²L_in/∂λ∂θ b,        b = ∂L_out/∂θ,  ξ in place of the inverse Hessian

    The default ξ = b·b / b·Hb is the step that minimises along b: the first iterate of conjugate gradient. Both
    products come from the same two gradients.

    Cost: one gradient of the outer loss and two of the inner loss; no second derivatives. Memory: one gradient's
    graph and 4 times θ, whatever T is. Error: that of ξ for H⁻¹, ‖(H⁻¹ - ξ) b‖, which is nothing if all
    eigenvalues are equal and most of the result if they differ by much; and O(radius²) for the differences.

    Args:
        step_size: ξ; None means the step that minimises along b.
        radius: how far θ moves each way, as a distance; in float32 no less than about 1e-3.
        optimizer: see :class:`HypergradientEstimator`.

    Diagnostics: ``outer_loss``, ``step_size`` and ``curvature`` (b·Hb / b·b; where it is negative its absolute
    value is used).
    """

    def __init__(
        self,
        *,
        step_size: float | None = None,
        radius: float = 0.01,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.config = FiniteDifferenceConfig(step_size=step_size, radius=radius)

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return explain_unused_in_losses(name)

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class; there is no warm start.

        Raises:
            ConfigurationError: no ``step_size``, and the inner loss is not curved along b.
        """
        slope = outer_slope(trajectory, problem)
        mixed, curved = central_difference(trajectory, problem, slope.theta, self.config.radius)
        size, bent = dot(slope.theta, slope.theta), dot(slope.theta, curved)
        step = self._step(size, bent)
        return TaskHypergradient(
            gradient=combined(slope.outer, mixed, -step),
            state={},
            diagnostics={
                "outer_loss": float(slope.value),
                "step_size": float(step),
                "curvature": float(bent / size) if float(size) else 0.0,
            },
        )

    def _step(self, size: Tensor, bent: Tensor) -> Tensor | float:
        if self.config.step_size is not None:
            return self.config.step_size
        if float(size) == 0.0:
            return 0.0
        if float(bent) == 0.0:
            raise ConfigurationError(
                "the inner loss is flat along the outer loss's gradient, so that no step size follows from it; "
                "set step_size"
            )
        return size / bent.abs()
