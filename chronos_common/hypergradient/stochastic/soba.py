"""SOBA and MA-SOBA: θ, v and λ move at once, each along a direction on one mini-batch."""

from __future__ import annotations

from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_common.hypergradient.stochastic.base import (
    SOLUTION,
    Call,
    StochasticConfig,
    StochasticEstimator,
)
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import Tensors

_AVERAGE = "direction"


class SOBA(StochasticEstimator):
    """Stochastic bilevel algorithm (Dagréou et al., NeurIPS 2022).

    All directions are taken at the same (θ, v, λ) and on the same batch: that of λ uses v from before its step. With
    full batches it follows the inverse at a lag; with mini-batches v keeps noise in proportion to ``step_size``.

    Arguments, cost and diagnostics: see :class:`StochasticEstimator`. State: v, the vector of the power iteration.
    """

    def __init__(
        self,
        *,
        steps: int = 1,
        cold_steps: int = 50,
        step_size: float | None = None,
        damping: float = 0.0,
        inner_batches: int = 1,
        outer_batches: int = 1,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        config = StochasticConfig(
            steps=steps,
            cold_steps=cold_steps,
            step_size=step_size,
            damping=damping,
            inner_batches=inner_batches,
            outer_batches=outer_batches,
        )
        super().__init__(config, optimizer=optimizer)

    def advance(self, call: Call) -> tuple[Tensor, Tensors]:
        """See the base class."""
        v = call.start()
        for _ in range(self.config.steps):
            inner, outer = call.inner(v), call.outer()
            direction = outer.direct - inner.mixed
            v = call.moved(v, inner.hv, outer.slope)
        return direction, {SOLUTION: v}


class MASOBA(SOBA):
    """SOBA with a moving average of the direction of λ (Chen, Xiao and Balasubramanian 2023).

    d ← (1 - weight) d + weight (∂L_out/∂λ - (∂²L_in/∂λ∂θ) v); the first d is the first direction. It needs no large
    batches: the average takes the noise out as λ slows down.

    Arguments, cost and diagnostics: see :class:`SOBA`. State: v, d (the size of λ), the power iteration's vector.

    Args:
        weight: of the newest direction, in (0, 1].
    """

    def __init__(
        self,
        *,
        weight: float = 0.3,
        steps: int = 1,
        cold_steps: int = 50,
        step_size: float | None = None,
        damping: float = 0.0,
        inner_batches: int = 1,
        outer_batches: int = 1,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        super().__init__(
            steps=steps,
            cold_steps=cold_steps,
            step_size=step_size,
            damping=damping,
            inner_batches=inner_batches,
            outer_batches=outer_batches,
            optimizer=optimizer,
        )
        if not 0.0 < weight <= 1.0:
            raise ConfigurationError(f"weight must be above 0 and at most 1, not {weight}")
        self._weight = weight

    def advance(self, call: Call) -> tuple[Tensor, Tensors]:
        """See the base class."""
        direction, kept = super().advance(call)
        last = call.state.get(_AVERAGE)
        if last is not None and last.shape == direction.shape:
            direction = last.to(direction).lerp(direction, self._weight)
        return direction, {**kept, _AVERAGE: direction}
