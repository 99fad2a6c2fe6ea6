"""BOME: the value function as a constraint, with a multiplier that sets itself."""

from __future__ import annotations

import dataclasses

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient
from chronos_common.hypergradient.slopes import (
    Slope,
    combined,
    dot,
    explain_unused_in_losses,
    inner_slope,
    outer_slope,
    total_norm,
    updated,
    warm_started,
)
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, InnerState, Tensors, Trajectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class BOMEConfig:
    """See :class:`BOME`.

    Raises:
        ConfigurationError: a value out of range.
    """

    barrier: float = 0.5
    pace: float = 0.05
    steps: int = 5
    warm_start: bool = True

    def __post_init__(self) -> None:
        if not (self.barrier >= 0.0 and self.pace > 0.0):
            raise ConfigurationError("barrier must be at least 0, and pace above 0")
        if self.steps < 1:
            raise ConfigurationError(f"steps must be at least 1, not {self.steps}")


class BOME(HypergradientEstimator):
    """Bilevel optimisation made easy (Ye et al., NeurIPS 2022).

    ::

        q(y) = L_in(y) - L_in(z) - ∂L_in/∂z · (y - z),   σ = max(0, η - ∂L_out/∂y · ∂q/∂y / ‖∂q/∂y‖²)
        y ← y - ρ (∂L_out/∂y + σ ∂q/∂y),       dL_out/dλ ≈ ∂L_out/∂λ(y) + σ (∂L_in/∂λ(y) - ∂L_in/∂λ(z))

    z is the final θ, taken as a constant; y stays near it and is kept from call to call. The last term of q is zero
    at a solved z, and the paper has none; without it a z that is not quite solved outweighs what y is there for.
    Steps of y go through the problem's own ``inner_update``, at ``pace`` times its rate. Unlike in the paper, σ
    looks at derivatives by y alone, as λ is stepped by somebody else, later, and with an optimiser of its own.

    Cost: ``steps`` + 2 gradients of the outer loss and twice ``steps`` + 1 of the inner loss; no second derivatives.
    Memory: one gradient's graph and 3 times θ (``state`` keeps y - z), whatever T is. Error: O(‖y - z‖), which does
    not fall below about ρ‖∂L_out/∂y‖, and what the first calls have not yet solved; an estimate of roughly the
    right direction and size, not one to converge with.

    Args:
        barrier: η, how fast q has to fall.
        pace: of y, as a part of the problem's own learning rate.
        steps: of y, each call.
        warm_start: begin y at z + (y - z of the last call).
        optimizer: see :class:`HypergradientEstimator`.

    Diagnostics: ``outer_loss`` (at the final θ), ``distance`` ‖y - z‖, ``multiplier`` σ.
    """

    def __init__(
        self,
        *,
        barrier: float = 0.5,
        pace: float = 0.05,
        steps: int = 5,
        warm_start: bool = True,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.config = BOMEConfig(barrier=barrier, pace=pace, steps=steps, warm_start=warm_start)

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return explain_unused_in_losses(name)

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class; the state is y - z."""
        config, run, z = self.config, trajectory, trajectory.final
        y = warm_started(z, state) if config.warm_start else z
        value = float(outer_slope(run, problem).value)
        for ahead in range(config.steps):
            upper, lower = outer_slope(run, problem, y), self._constraint(run, problem, y, ahead)
            both = upper.plus(lower, self._multiplier(upper.theta, lower.theta))
            slowed = {k: config.pace * v for k, v in both.theta.items()}
            # Momentum of the trajectory's own last steps has no part in this.
            y = dataclasses.replace(updated(run, problem, y, slowed, ahead), opt_state=z.opt_state)
        upper, lower = outer_slope(run, problem, y), self._constraint(run, problem, y, config.steps)
        sigma = self._multiplier(upper.theta, lower.theta)
        offset = {k: v - z.params[k] for k, v in y.params.items()}
        return TaskHypergradient(
            gradient=combined(upper.outer, lower.outer, sigma),
            state=offset if config.warm_start else {},
            diagnostics={
                "outer_loss": value,
                "distance": float(total_norm(offset)),
                "multiplier": sigma,
            },
        )

    @staticmethod
    def _constraint(run: Trajectory, problem: InnerProblem, y: InnerState, ahead: int) -> Slope:
        """That of q at ``y``."""
        at, base = inner_slope(run, problem, y, ahead), inner_slope(run, problem, run.final, ahead)
        return dataclasses.replace(
            at.plus(base, -1.0), outer={k: v - base.outer[k] for k, v in at.outer.items()}
        )

    def _multiplier(self, upper: Tensors, lower: Tensors) -> float:
        """σ: as much of ∂q/∂y as makes q fall at the rate η."""
        squared = float(dot(lower, lower))
        if squared == 0.0:
            return 0.0
        return max(0.0, self.config.barrier - float(dot(upper, lower)) / squared)
