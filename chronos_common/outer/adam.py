"""Adam and AdamW, in the form of ``torch.optim.Adam`` and ``torch.optim.AdamW``.

    g ← gradient + weight_decay · x                    (Adam)
    x ← x - learning_rate · weight_decay · x           (AdamW, whose g is the gradient)
    m ← β1 · m + (1 - β1) · g
    v ← β2 · v + (1 - β2) · g²
    x ← x - (learning_rate / (1 - β1^t)) · m / (√v / √(1 - β2^t) + ε)

β1^t and β2^t are running products kept in the state: ``pow`` differs between libraries and machines, a
multiplication does not.

Sources: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1; Loshchilov and Hutter,
"Decoupled weight decay regularization", ICLR 2019, algorithm 2.
"""

from __future__ import annotations

import math

import numpy as np

from chronos_common.outer.base import OptimizerState, require_matching, zeros_like
from chronos_common.outer.config import OuterConfig
from chronos_common.tensors import Array, Arrays

_FIRST, _SECOND = "first_moment", "second_moment"
_POWER1, _POWER2 = "beta1_power", "beta2_power"


class Adam:
    """See the module."""

    decoupled = False

    def __init__(self, config: OuterConfig) -> None:
        self._config = config

    def init(self, params: Arrays) -> OptimizerState:
        return OptimizerState(
            slots={_FIRST: zeros_like(params), _SECOND: zeros_like(params)},
            scalars={_POWER1: 1.0, _POWER2: 1.0},
        )

    def step(
        self, params: Arrays, gradient: Arrays, state: OptimizerState
    ) -> tuple[dict[str, Array], OptimizerState]:
        require_matching(params, gradient, state, (_FIRST, _SECOND))
        config = self._config
        power1 = state.scalars[_POWER1] * config.beta1
        power2 = state.scalars[_POWER2] * config.beta2
        # Python floats, which NumPy lets take the dtype of the array that they meet.
        rate = config.learning_rate / (1.0 - power1)
        correction = math.sqrt(1.0 - power2)
        stepped: dict[str, Array] = {}
        firsts: dict[str, Array] = {}
        seconds: dict[str, Array] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            for name in sorted(params):
                value, direction = params[name], gradient[name]
                if config.weight_decay and self.decoupled:
                    value = value * (1.0 - config.learning_rate * config.weight_decay)
                elif config.weight_decay:
                    direction = direction + config.weight_decay * value
                first = config.beta1 * state.slots[_FIRST][name] + (1.0 - config.beta1) * direction
                second = config.beta2 * state.slots[_SECOND][name] + (1.0 - config.beta2) * (
                    direction * direction
                )
                denominator = np.sqrt(second) / correction + config.epsilon
                stepped[name] = np.asarray(value - rate * (first / denominator))
                firsts[name], seconds[name] = np.asarray(first), np.asarray(second)
        next_state = OptimizerState(
            slots={_FIRST: firsts, _SECOND: seconds},
            scalars={_POWER1: power1, _POWER2: power2},
            steps=state.steps + 1,
        )
        return stepped, next_state


class AdamW(Adam):
    """See the module: the weight decay does not pass through the moments."""

    decoupled = True
