"""From a configuration to the optimiser that a run steps with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chronos_common.errors import ConfigurationError
from chronos_common.outer.base import OuterOptimizer
from chronos_common.outer.config import OuterConfig
from chronos_common.outer.exponentiated_gradient import ExponentiatedGradient
from chronos_common.outer.multi_timescale import MultiTimescaleOptimizer
from chronos_common.outer.space import OuterSpec
from chronos_common.outer.table import single_optimizer


def make_optimizer(config: OuterConfig) -> OuterOptimizer:
    """The optimiser that ``config`` names, with its levels.

    Raises:
        ConfigurationError: no such optimiser; the message lists those that exist.
    """
    if not config.levels:
        return single_optimizer(config)
    return MultiTimescaleOptimizer(config.levels, base=replace(config, levels=()))


def require_steppable(optimizer: OuterOptimizer, specs: Sequence[OuterSpec]) -> None:
    """Refuses an optimiser that cannot step these parameters.

    Raises:
        ConfigurationError: a level without parameters, or exponentiated gradient of a parameter that is not declared
            on the simplex.
    """
    names = [spec.name for spec in specs]
    if isinstance(optimizer, MultiTimescaleOptimizer):
        steppers = {
            name: optimizer.optimizer_of(level)
            for level, members in optimizer.groups(names).items()
            for name in members
        }
    else:
        steppers = dict.fromkeys(names, optimizer)
    for spec in specs:
        if isinstance(steppers[spec.name], ExponentiatedGradient) and not spec.simplex:
            raise ConfigurationError(
                f"exponentiated_gradient steps {spec.name!r}, which is not on the simplex; declare it with "
                "OuterParameter(..., constraint='simplex') or choose another optimiser"
            )
