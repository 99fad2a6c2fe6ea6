"""AmIGO: several warm-started steps of v before each direction."""

from __future__ import annotations

from torch import Tensor

from chronos_common.hypergradient.stochastic.base import (
    SOLUTION,
    Call,
    StochasticConfig,
    StochasticEstimator,
)
from chronos_common.outer import OuterConfig, OuterOptimizer
from chronos_common.problem import Tensors


class AmIGO(StochasticEstimator):
    """Amortised implicit gradient optimisation (Arbel and Mairal, ICLR 2022).

    ``steps`` gradient steps of v, each on batches of its own, from where the last call ended; the direction of λ then
    uses the new v on fresh batches. With full batches the error falls by (1 - μ/L) a step, over all calls.

    Arguments, cost and diagnostics: see :class:`StochasticEstimator`; one more sample of each for the direction.
    State: v, the vector of the power iteration.
    """

    def __init__(
        self,
        *,
        steps: int = 10,
        cold_steps: int = 40,
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
            v = call.moved(v, call.inner(v).hv, call.outer().slope)
        return call.outer().direct - call.inner(v).mixed, {SOLUTION: v}
