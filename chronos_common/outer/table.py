"""The table of outer optimisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from chronos_common.errors import ConfigurationError
from chronos_common.outer.adam import Adam, AdamW
from chronos_common.outer.base import OuterOptimizer
from chronos_common.outer.config import OuterConfig
from chronos_common.outer.delta_momentum import DeltaMomentum
from chronos_common.outer.exponentiated_gradient import ExponentiatedGradient
from chronos_common.outer.m3 import M3
from chronos_common.outer.sgd import SGD

OPTIMIZERS: Final[Mapping[str, Callable[[OuterConfig], OuterOptimizer]]] = MappingProxyType(
    {
        "adam": Adam,
        "adamw": AdamW,
        "delta_momentum": DeltaMomentum,
        "exponentiated_gradient": ExponentiatedGradient,
        "m3": M3,
        "sgd": SGD,
    }
)


def single_optimizer(config: OuterConfig) -> OuterOptimizer:
    """The optimiser that ``config`` names, whatever its levels.

    Raises:
        ConfigurationError: no such optimiser; the message lists those that exist.
    """
    if config.name not in OPTIMIZERS:
        raise ConfigurationError(f"outer.name is {config.name!r}; choose one of {sorted(OPTIMIZERS)}")
    return OPTIMIZERS[config.name](config)
