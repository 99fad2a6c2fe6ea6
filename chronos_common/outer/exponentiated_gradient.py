"""Exponentiated gradient: multiplicative steps that keep every row on the probability simplex.

    w ← w · exp(-learning_rate · (g - min g))        min over the weights of the row that are above 0
    w ← w / Σ w

A row is a parameter's last axis; a scalar is a row of one. The smallest gradient of a row is taken off first, which
the division takes back: no exponential overflows, and no row vanishes. A weight that has become 0 stays 0. The
parameters must be declared on the simplex, so that what is published of them stays there too.

Source: Kivinen and Warmuth, "Exponentiated gradient versus gradient descent for linear predictors", Information and
Computation 132, 1997, the algorithm EG.
"""

from __future__ import annotations

import numpy as np

from chronos_common.outer.base import OptimizerState, require_matching
from chronos_common.outer.config import OuterConfig
from chronos_common.outer.exact import exp, row_sums
from chronos_common.tensors import Array, Arrays


class ExponentiatedGradient:
    """See the module; it remembers nothing."""

    def __init__(self, config: OuterConfig) -> None:
        self._config = config

    def init(self, params: Arrays) -> OptimizerState:
        return OptimizerState()

    def step(
        self, params: Arrays, gradient: Arrays, state: OptimizerState
    ) -> tuple[dict[str, Array], OptimizerState]:
        require_matching(params, gradient, state, ())
        stepped = {name: self._stepped(params[name], gradient[name]) for name in sorted(params)}
        return stepped, OptimizerState(steps=state.steps + 1)

    def _stepped(self, weights: Array, gradient: Array) -> Array:
        rate = self._config.learning_rate
        if rate == 0 or weights.size == 0:
            return weights.copy()
        rows = np.atleast_1d(weights).astype(np.float64)
        slopes = np.atleast_1d(gradient).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            least = np.where(rows > 0.0, slopes, np.inf).min(axis=-1, keepdims=True)
            moved = rows * exp(-rate * np.maximum(slopes - least, 0.0))
            moved = moved / row_sums(moved)
        return np.asarray(moved.astype(weights.dtype).reshape(weights.shape))
