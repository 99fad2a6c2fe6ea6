"""M3, multi-scale momentum Muon: a fast and a slow memory of gradients, both made orthogonal.

    m ← β1 · m + (1 - β1) · g                                     at every step t
    v ← β2 · v + (1 - β2) · g²
    b ← b + g
    s ← β3 · s + (1 - β3) · b / f,   b ← 0                        at every f-th step; o ← NS(s / (1 - β3^(t/f)))
    x ← x - learning_rate · weight_decay · x                      (as in AdamW)
    x ← x - learning_rate · (NS(m / (1 - β1^t)) + slow_share · o) / (√(v / (1 - β2^t)) + ε)

f is ``slow_period``. NS makes a matrix nearly orthogonal by ``newton_schulz_steps`` of Newton and Schulz's iteration;
arrays of more than two axes become matrices by flattening all axes but the first, scalars and vectors stay as they
are. Products are sums in a fixed order (``exact.py``), so that a step on an m x n matrix costs several passes of
min(m, n)·m·n elementwise operations: meant for matrices of some hundred rows, not for whole language models.

Sources: Behrouz, Razaviyayn, Zhong and Mirrokni, "Nested Learning", NeurIPS 2025, algorithm 1, whose memories add up
without decay (m ← m + β·g); here they are means with bias correction, as in Adam, so that old gradients fade and the
rate keeps its meaning. NS and its coefficients: Jordan et al., "Muon", 2024, also in ``torch.optim.Muon``.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from chronos_common.outer.base import OptimizerState, require_matching, zeros_like
from chronos_common.outer.config import OuterConfig
from chronos_common.outer.exact import matmul, norm
from chronos_common.tensors import Array, Arrays

_FAST, _SQUARES, _CHUNK, _SLOW, _DIRECTION = "fast", "squares", "chunk", "slow", "slow_direction"
_SLOTS: Final = (_FAST, _SQUARES, _CHUNK, _SLOW, _DIRECTION)
_POWERS: Final = ("beta1_power", "beta2_power", "beta3_power")
_A, _B, _C = 3.4445, -4.7750, 2.0315
_NORM_FLOOR: Final = 1e-7


def newton_schulz(array: Array, steps: int) -> Array:
    """``array`` with singular values near 1, as a matrix of its first axis by all others.

        X ← X / (‖X‖ + 1e-7);   A = X·Xᵀ;   X ← a·X + (b·A + c·A²)·X

    Args:
        array: any rank; scalars, vectors and empty arrays come back as they are.
        steps: iterations; with 0, likewise.
    """
    if array.ndim < 2 or array.size == 0 or steps == 0:
        return array
    matrix = array.reshape(array.shape[0], -1)
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = np.asarray(wide / (norm(wide) + _NORM_FLOOR))
    for _ in range(steps):
        gram = matmul(x, np.ascontiguousarray(x.T))
        polynomial = np.asarray(_B * gram + _C * matmul(gram, gram))
        x = np.asarray(_A * x + matmul(polynomial, x))
    back = x if wide is matrix else x.T
    return np.ascontiguousarray(back).reshape(array.shape)


class M3:
    """See the module."""

    def __init__(self, config: OuterConfig) -> None:
        self._config = config

    def init(self, params: Arrays) -> OptimizerState:
        return OptimizerState(
            slots={slot: zeros_like(params) for slot in _SLOTS}, scalars=dict.fromkeys(_POWERS, 1.0)
        )

    def step(
        self, params: Arrays, gradient: Arrays, state: OptimizerState
    ) -> tuple[dict[str, Array], OptimizerState]:
        require_matching(params, gradient, state, _SLOTS)
        config = self._config
        slow_step = (state.steps + 1) % config.slow_period == 0
        betas = (config.beta1, config.beta2, config.beta3 if slow_step else 1.0)
        powers = [state.scalars[name] * beta for name, beta in zip(_POWERS, betas, strict=True)]
        slots: dict[str, dict[str, Array]] = {slot: {} for slot in _SLOTS}
        stepped: dict[str, Array] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            for name in sorted(params):
                memory = {slot: state.slots[slot][name] for slot in _SLOTS}
                self._remember(memory, gradient[name])
                if slow_step:
                    self._consolidate(memory, powers[2])
                stepped[name] = self._moved(params[name], memory, powers)
                for slot, array in memory.items():
                    slots[slot][name] = array
        scalars = dict(zip(_POWERS, powers, strict=True))
        return stepped, OptimizerState(slots=slots, scalars=scalars, steps=state.steps + 1)

    def _remember(self, memory: dict[str, Array], gradient: Array) -> None:
        beta1, beta2 = self._config.beta1, self._config.beta2
        memory[_FAST] = np.asarray(beta1 * memory[_FAST] + (1.0 - beta1) * gradient)
        memory[_SQUARES] = np.asarray(beta2 * memory[_SQUARES] + (1.0 - beta2) * (gradient * gradient))
        memory[_CHUNK] = np.asarray(memory[_CHUNK] + gradient)

    def _consolidate(self, memory: dict[str, Array], power3: float) -> None:
        """The slow memory takes in what was gathered since its last step."""
        config = self._config
        share = (1.0 - config.beta3) / config.slow_period
        memory[_SLOW] = np.asarray(config.beta3 * memory[_SLOW] + share * memory[_CHUNK])
        memory[_CHUNK] = np.zeros_like(memory[_CHUNK])
        corrected = np.asarray(memory[_SLOW] / (1.0 - power3))
        memory[_DIRECTION] = np.array(newton_schulz(corrected, config.newton_schulz_steps))

    def _moved(self, value: Array, memory: dict[str, Array], powers: list[float]) -> Array:
        config = self._config
        fast = newton_schulz(np.asarray(memory[_FAST] / (1.0 - powers[0])), config.newton_schulz_steps)
        direction = fast + config.slow_share * memory[_DIRECTION]
        denominator = np.sqrt(memory[_SQUARES]) / math.sqrt(1.0 - powers[1]) + config.epsilon
        if config.weight_decay:
            value = value * (1.0 - config.learning_rate * config.weight_decay)
        return np.asarray(value - config.learning_rate * (direction / denominator))
