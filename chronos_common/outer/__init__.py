"""Outer optimisers: how merged updates move the outer parameters, and within which bounds.

``base.py`` holds the interface and the optimiser's state, ``config.py`` what a user chooses, ``table.py`` the
explicit table of optimisers, one file each optimiser; ``space.py`` the stored coordinates (logarithms) and
bounds. All of it is part of the fold that replay repeats on other machines, so that a step uses only
elementwise + - * / and square roots: no power, exponential, logarithm, reduction or dot product.

To add an optimiser: one file with a class that satisfies :class:`OuterOptimizer`, a row in
``table.OPTIMIZERS``,
its own fields (if any) in :class:`OuterConfig`; the contract test runs over the table.
"""

from chronos_common.outer.base import OptimizerState, OuterOptimizer
from chronos_common.outer.config import OuterConfig
from chronos_common.outer.space import OuterSpec, clip, to_natural, to_stored
from chronos_common.outer.table import OPTIMIZERS, make_optimizer

__all__ = [
    "OPTIMIZERS",
    "OptimizerState",
    "OuterConfig",
    "OuterOptimizer",
    "OuterSpec",
    "clip",
    "make_optimizer",
    "to_natural",
    "to_stored",
]
