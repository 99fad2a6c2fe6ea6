"""Stochastic gradient descent with (Nesterov) momentum, in the form of ``torch.optim.SGD``.

    g ← gradient + weight_decay · x
    v ← momentum · v + g
    d ← g + momentum · v   (Nesterov)   or   v   (momentum > 0)   or   g
    x ← x - learning_rate · d

Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013, with
the learning rate outside of the velocity.
"""

from __future__ import annotations

import numpy as np

from chronos_common.outer.base import OptimizerState, require_matching, zeros_like
from chronos_common.outer.config import OuterConfig
from chronos_common.tensors import Array, Arrays

_VELOCITY = "velocity"


class SGD:
    """See the module; the velocity exists only where momentum is used."""

    def __init__(self, config: OuterConfig) -> None:
        self._config = config
        self._slots = (_VELOCITY,) if config.momentum else ()

    def init(self, params: Arrays) -> OptimizerState:
        return OptimizerState(slots={slot: zeros_like(params) for slot in self._slots})

    def step(
        self, params: Arrays, gradient: Arrays, state: OptimizerState
    ) -> tuple[dict[str, Array], OptimizerState]:
        require_matching(params, gradient, state, self._slots)
        config = self._config
        stepped: dict[str, Array] = {}
        velocities: dict[str, Array] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            for name in sorted(params):
                direction = gradient[name]
                if config.weight_decay:
                    direction = direction + config.weight_decay * params[name]
                if config.momentum:
                    velocity = config.momentum * state.slots[_VELOCITY][name] + direction
                    velocities[name] = np.asarray(velocity)
                    direction = direction + config.momentum * velocity if config.nesterov else velocity
                stepped[name] = np.asarray(params[name] - config.learning_rate * direction)
        slots = dict.fromkeys(self._slots, velocities)
        return stepped, OptimizerState(slots=slots, steps=state.steps + 1)
