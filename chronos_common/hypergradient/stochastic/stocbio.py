"""StocBiO: a Neumann series with a batch of its own for each factor."""

from __future__ import annotations

from torch import Tensor

from chronos_common.hypergradient.stochastic.base import (
    Call,
    StochasticConfig,
    StochasticEstimator,
)
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import Tensors


class StocBiO(StochasticEstimator):
    """Stochastic bilevel optimiser (Ji, Yang and Liang, ICML 2021).

    v = η Σ_q Π_j (I - η H_j) ∂L_out/∂θ with ``steps`` factors, each Hessian on batches of its own, the outer gradient
    on ``outer_batches``, and the mixed derivative on yet other batches. v begins at zero in every call; what is
    carried is θ, by the worker, and the vector of the power iteration. With full batches the error of v is
    (1 - μ/L)^(steps + 1) of v.

    Arguments, cost and diagnostics: see :class:`StochasticEstimator`; ``steps`` + 1 inner samples, and only one
    outer sample.
    """

    def __init__(
        self,
        *,
        steps: int = 30,
        step_size: float | None = None,
        damping: float = 0.0,
        inner_batches: int = 1,
        outer_batches: int = 1,
        optimizer: OuterConfig | OuterOptimizer | None = None,
    ) -> None:
        config = StochasticConfig(
            steps=steps,
            cold_steps=0,
            step_size=step_size,
            damping=damping,
            inner_batches=inner_batches,
            outer_batches=outer_batches,
        )
        super().__init__(config, optimizer=optimizer)

    def advance(self, call: Call) -> tuple[Tensor, Tensors]:
        """See the base class."""
        outer = call.outer()
        v = call.step_size * outer.slope
        for _ in range(self.config.steps):
            v = call.moved(v, call.inner(v).hv, outer.slope)
        return outer.direct - call.inner(v).mixed, {}
