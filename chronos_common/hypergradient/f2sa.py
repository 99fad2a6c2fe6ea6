"""F2SA: the inner problem with and without a little of the outer loss; first derivatives only."""

from __future__ import annotations

import dataclasses

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.base import HypergradientEstimator, TaskHypergradient
from chronos_common.hypergradient.slopes import (
    combined,
    explain_unused_in_losses,
    inner_slope,
    outer_slope,
    total_norm,
    updated,
    warm_started,
)
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import InnerProblem, Tensors, Trajectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class F2SAConfig:
    """See :class:`F2SA`.

    Raises:
        ConfigurationError: a value out of range.
    """

    penalty: float = 100.0
    steps: int = 20
    warm_start: bool = True

    def __post_init__(self) -> None:
        if not self.penalty > 0.0:
            raise ConfigurationError(f"penalty must be above 0, not {self.penalty}")
        if self.steps < 1:
            raise ConfigurationError(f"steps must be at least 1, not {self.steps}")


class F2SA(HypergradientEstimator):
    """Fully first-order approximation by a penalty on the value function (Kwon et al., ICML 2023).

    ::

        dL_out/dλ ≈ ∂L_out/∂λ(y) + σ (∂L_in/∂λ(y) - ∂L_in/∂λ(z)),   y = argmin L_in + L_out / σ,   z = argmin L_in

    y and z both go on from the final θ by ``steps`` steps of the problem's own ``inner_update``, on the same batches.

    Cost: ``steps`` + 1 gradients of the outer loss and twice as many of the inner loss; no second derivatives.
    Memory: one gradient's graph and 3 times θ (``state`` keeps y - z), whatever T is. Error: O(1/σ) with y and z
    solved; what is missing of that comes in multiplied by σ, so that σ must not outrun ``steps``, nor the precision
    (about 1e3 in float32).

    Args:
        penalty: σ.
        steps: of y and of z, each call.
        warm_start: begin y at z + (y - z of the last call).
        optimizer: see :class:`HypergradientEstimator`.

    Diagnostics: ``outer_loss`` (at the final θ), ``distance`` ‖y - z‖.
    """

    def __init__(
        self,
        *,
        penalty: float = 100.0,
        steps: int = 20,
        warm_start: bool = True,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.config = F2SAConfig(penalty=penalty, steps=steps, warm_start=warm_start)

    def explain_unused(self, name: str) -> str:
        """See the base class."""
        return explain_unused_in_losses(name)

    def differentiate(
        self, trajectory: Trajectory, problem: InnerProblem, state: Tensors
    ) -> TaskHypergradient:
        """See the base class; the state is y - z."""
        config, run = self.config, trajectory
        z = run.final
        y = warm_started(z, state) if config.warm_start else z
        value = float(outer_slope(run, problem).value)
        for ahead in range(config.steps):
            above = inner_slope(run, problem, y, ahead).plus(outer_slope(run, problem, y), 1 / config.penalty)
            below = inner_slope(run, problem, z, ahead)
            y = updated(run, problem, y, above.theta, ahead)
            z = updated(run, problem, z, below.theta, ahead)
        above, below = (inner_slope(run, problem, at, config.steps) for at in (y, z))
        difference = {k: v - below.outer[k] for k, v in above.outer.items()}
        offset = {k: v - z.params[k] for k, v in y.params.items()}
        return TaskHypergradient(
            gradient=combined(outer_slope(run, problem, y).outer, difference, config.penalty),
            state=offset if config.warm_start else {},
            diagnostics={"outer_loss": value, "distance": float(total_norm(offset))},
        )
