"""Outer optimisers: how merged updates move the outer parameters, how often, and within which bounds.

``base.py`` holds the interface and the optimiser's state, ``config.py`` what a user chooses, ``table.py`` the
explicit table of optimisers, one file each optimiser; ``multi_timescale.py`` makes one of several, each for its level
of parameters, by ``clock.py``; ``space.py`` the stored coordinates (logarithms) and bounds; ``stepping.py`` one step
within them. All of it is part of the fold that replay repeats on other machines, so that a step uses only
elementwise + - * / and square roots: no power, exponential, logarithm, library reduction or BLAS product; what needs
one has it from ``exact.py``. ``continuum_torch.py`` is a torch face: import it by its full name.

To add an optimiser: one file with a class that satisfies :class:`OuterOptimizer`, a row in
``table.OPTIMIZERS``,
its own fields (if any) in :class:`OuterConfig`; the contract test runs over the table.
"""

from chronos_common.outer.base import OptimizerState, OuterOptimizer
from chronos_common.outer.clock import LevelClock
from chronos_common.outer.config import BASE_LEVEL, PERIODS, OuterConfig, TimescaleConfig
from chronos_common.outer.making import make_optimizer, require_steppable
from chronos_common.outer.multi_timescale import Advance, MultiTimescaleOptimizer
from chronos_common.outer.space import OuterSpec, clip, to_natural, to_stored
from chronos_common.outer.stepping import Step, step_within
from chronos_common.outer.table import OPTIMIZERS

__all__ = [
    "BASE_LEVEL",
    "OPTIMIZERS",
    "PERIODS",
    "Advance",
    "LevelClock",
    "MultiTimescaleOptimizer",
    "OptimizerState",
    "OuterConfig",
    "OuterOptimizer",
    "OuterSpec",
    "Step",
    "TimescaleConfig",
    "clip",
    "make_optimizer",
    "require_steppable",
    "step_within",
    "to_natural",
    "to_stored",
]
