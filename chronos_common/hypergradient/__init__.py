"""d outer-loss / d outer-parameter, from finished inner loops (torch).

* ``base.py``: :class:`HypergradientEstimator`, the interface, and :class:`HypergradientResult`.
* ``implicit.py``, with what θ satisfies in ``conditions/`` and how that is solved in ``solvers/``.
* through the inner steps: ``unrolled.py``; ``recompute.py`` and ``reversible.py`` (with ``heavy_ball.py`` and
  ``exact_momentum.py``), which go back in a ``sweep.py``; ``forward_mode.py``, with ``tangents.py``. All of them
  with ``replay.py`` and ``connection.py``.
* first derivatives only: ``finite_difference.py``, ``sama.py``, ``f2sa.py``, ``bome.py``, with ``slopes.py``;
  ``pseudo_gradient.py``.
* values only: ``evolution.py``, ``persistent_evolution.py``, ``pzobo.py``, with ``perturbation.py``.
* ``vectors.py``: tensors as one vector.  ``accuracy.py``: what each estimator's error is.
* ``registry.py``: the table of their names.  ``meta.py``: stepping λ in one process.
* ``outer_space.py``: λ as tensors, u = log λ as arrays.
* ``update.py``: λ in, commit out; what workers and the single-node loop both run.

A new estimator is one file, a row in ``registry.ESTIMATORS`` and a row in the contract test
(``tests/unit/hypergradient/test_contract.py``). Coordinator code must not import this package: it needs
torch.
"""

from chronos_common.hypergradient.base import (
    HypergradientEstimator,
    HypergradientResult,
    TaskHypergradient,
)
from chronos_common.hypergradient.implicit import ImplicitConfig, ImplicitDifferentiation
from chronos_common.hypergradient.meta import MetaOptimizer, MetaState
from chronos_common.hypergradient.outer_space import OuterSpace
from chronos_common.hypergradient.registry import ESTIMATORS, make_estimator
from chronos_common.hypergradient.unrolled import UnrolledConfig, UnrolledDifferentiation
from chronos_common.hypergradient.update import Carry, InnerUpdate, compute_update

__all__ = [
    "ESTIMATORS",
    "Carry",
    "HypergradientEstimator",
    "HypergradientResult",
    "ImplicitConfig",
    "ImplicitDifferentiation",
    "InnerUpdate",
    "MetaOptimizer",
    "MetaState",
    "OuterSpace",
    "TaskHypergradient",
    "UnrolledConfig",
    "UnrolledDifferentiation",
    "compute_update",
    "make_estimator",
]
