"""PZOBO: a zeroth-order Jacobian of the inner loop, and first derivatives of the outer loss."""

from __future__ import annotations

import dataclasses

from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient
from chronos_common.hypergradient.perturbation import (
    Perturbations,
    accumulate,
    explain_unused_anywhere,
    require_sampling,
)
from chronos_common.hypergradient.slopes import combined, dot, outer_slope
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, Tensors, Trajectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class PZOBOConfig:
    """See :class:`PZOBO`.

    Raises:
        ConfigurationError: a value out of range.
    """

    directions: int = 16
    sigma: float = 0.001

    def __post_init__(self) -> None:
        require_sampling(self.directions, self.sigma, "directions")


class PZOBO(HypergradientEstimator):
    """Partial zeroth-order bilevel optimisation (Sow et al., NeurIPS 2022).

    ::

        dL_out/du ≈ ∂L_out/∂u + 1/N Σᵢ εᵢ ⟨(θ_T(u + σεᵢ) - θ_T(u)) / σ, ∂L_out/∂θ⟩,    u = log λ or λ

    θ_T(u) is the trajectory's own end; the others are run again from where it began (``init_inner`` included), on its
    batches and random numbers. The inner loop need not be differentiable in λ, the outer loss must be in θ. A
    parameter that nothing uses gives noise and no error.

    Cost: N inner loops, and one gradient of the outer loss. Memory: one loop's, and 2 times θ, whatever T is. Error:
    unbiased for the Jacobian of θ_T smoothed with width σ, whose distance to the true one is O(σ) (one-sided
    differences: half the loops of mirrored ones); standard deviation about ‖dL/du‖ · √((d + 1) / N) for d numbers in λ.

    Args:
        directions: N.
        sigma: σ, in stored coordinates; differences of θ lose precision below about 1e-3 in float32.
        optimizer: see :class:`HypergradientEstimator`.

    Directions are drawn as in :class:`~chronos_common.hypergradient.evolution.EvolutionStrategies`.

    Diagnostics: ``outer_loss``.
    """

    def __init__(
        self,
        *,
        directions: int = 16,
        sigma: float = 0.001,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.config = PZOBOConfig(directions=directions, sigma=sigma)

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return explain_unused_anywhere(name)

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class; the state counts the calls."""
        config = self.config
        around = Perturbations(trajectory, problem, sigma=config.sigma, state=state, stream="pzobo")
        slope = outer_slope(trajectory, problem)
        gradient: Tensors = {}
        for _ in range(config.directions):
            direction = around.draw()
            outer = around.moved(direction)
            end = around.end(outer, around.start(outer)).params
            travelled = {k: v - trajectory.final.params[k] for k, v in end.items()}
            weight = float(dot(travelled, slope.theta)) / (config.sigma * config.directions)
            gradient = accumulate(gradient, direction, weight)
        return TaskHypergradient(
            gradient=combined(slope.outer, around.natural(gradient), 1.0),
            state=around.counted(),
            diagnostics={"outer_loss": float(slope.value)},
        )
