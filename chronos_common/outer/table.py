"""The table of outer optimisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from chronos_common.errors import ConfigurationError
from chronos_common.outer.adam import Adam
from chronos_common.outer.base import OuterOptimizer
from chronos_common.outer.config import OuterConfig
from chronos_common.outer.sgd import SGD

OPTIMIZERS: Final[Mapping[str, Callable[[OuterConfig], OuterOptimizer]]] = MappingProxyType(
    {
        "adam": Adam,
        "sgd": SGD,
    }
)


def make_optimizer(config: OuterConfig) -> OuterOptimizer:
    """The optimiser that ``config`` names.

    Raises:
        ConfigurationError: no such optimiser; the message lists those that exist.
    """
    if config.name not in OPTIMIZERS:
        raise ConfigurationError(f"outer.name is {config.name!r}; choose one of {sorted(OPTIMIZERS)}")
    return OPTIMIZERS[config.name](config)
