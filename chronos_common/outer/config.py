"""What a user chooses about the outer optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from chronos_common.errors import ConfigurationError

MIN_EPSILON: Final = 1e-30
"""Anything much smaller is zero in float32, and 0/0 would follow."""


@dataclass(frozen=True, kw_only=True)
class OuterConfig:
    """An outer optimiser by name, and its constants; those that it does not use are ignored.

    Args:
        name: a key of ``OPTIMIZERS``.
        learning_rate: step size in stored coordinates, at least 0 (0 leaves every parameter as it is).
        momentum: decay of the SGD velocity, in [0, 1).
        nesterov: look ahead along the velocity; needs ``momentum > 0``.
        beta1: decay of Adam's mean of gradients, in [0, 1).
        beta2: decay of Adam's mean of squared gradients, in [0, 1).
        epsilon: added to Adam's denominator, at least 1e-30.
        weight_decay: ``weight_decay * parameter`` is added to the gradient before anything else, at least 0;
            in stored coordinates, so that a logarithmic parameter is pulled towards 1.

    Raises:
        ConfigurationError: a value out of its range.
    """

    name: str = "adam"
    learning_rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        self._require("learning_rate", "at least 0", self.learning_rate >= 0)
        self._require("weight_decay", "at least 0", self.weight_decay >= 0)
        self._require("epsilon", f"at least {MIN_EPSILON}", self.epsilon >= MIN_EPSILON)
        for field in ("momentum", "beta1", "beta2"):
            self._require(field, "in [0, 1)", 0 <= getattr(self, field) < 1)
        if self.nesterov and self.momentum == 0:
            raise ConfigurationError("outer.nesterov needs outer.momentum > 0; set it, for example to 0.9")

    def _require(self, field: str, wanted: str, holds: bool) -> None:
        value = getattr(self, field)
        if not (holds and math.isfinite(value)):
            raise ConfigurationError(f"outer.{field} is {value}; it must be finite and {wanted}")
