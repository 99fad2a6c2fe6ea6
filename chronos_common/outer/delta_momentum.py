"""Momentum by the delta rule: a memory of gradients that forgets along what it is told anew.

    g ← gradient + weight_decay · x
    k ← g / ‖g‖
    v ← momentum · (v - delta_rate · k·(kᵀv)) + g
    x ← x - learning_rate · v

Plain momentum only ever adds: what it holds along g stays beside the new g. Here that component, and no other, is
first reduced by ``delta_rate``; 0 is plain momentum, 1 replaces it. Norm and product are over one whole parameter.

Source: Behrouz, Razaviyayn, Zhong and Mirrokni, "Nested Learning: the illusion of deep learning architectures",
NeurIPS 2025, "delta momentum": m ← (α·I - ∇ᵀ∇)·m - η·∇, there with an unnormalised key that is stable only where
‖∇‖² is small; normalising it (as in the delta rule of linear attention, Yang et al. 2024) makes the rate a share.
"""

from __future__ import annotations

import numpy as np

from chronos_common.outer.base import OptimizerState, require_matching, zeros_like
from chronos_common.outer.config import OuterConfig
from chronos_common.outer.exact import dot, norm
from chronos_common.tensors import Array, Arrays

_VELOCITY = "velocity"


class DeltaMomentum:
    """See the module."""

    def __init__(self, config: OuterConfig) -> None:
        self._config = config

    def init(self, params: Arrays) -> OptimizerState:
        return OptimizerState(slots={_VELOCITY: zeros_like(params)})

    def step(
        self, params: Arrays, gradient: Arrays, state: OptimizerState
    ) -> tuple[dict[str, Array], OptimizerState]:
        require_matching(params, gradient, state, (_VELOCITY,))
        config = self._config
        stepped: dict[str, Array] = {}
        velocities: dict[str, Array] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            for name in sorted(params):
                direction = gradient[name]
                if config.weight_decay:
                    direction = direction + config.weight_decay * params[name]
                kept = self._without(state.slots[_VELOCITY][name], direction)
                velocity = np.asarray(config.momentum * kept + direction)
                velocities[name] = velocity
                stepped[name] = np.asarray(params[name] - config.learning_rate * velocity)
        return stepped, OptimizerState(slots={_VELOCITY: velocities}, steps=state.steps + 1)

    def _without(self, velocity: Array, direction: Array) -> Array:
        """The velocity with its component along ``direction`` reduced."""
        length = norm(direction)
        if length == 0.0 or self._config.delta_rate == 0.0:
            return velocity
        key = np.asarray(direction / length)
        return np.asarray(velocity - (self._config.delta_rate * dot(key, velocity)) * key)
