"""d outer-loss / d outer-parameter, from finished inner loops (torch).

* ``base.py``: :class:`HypergradientEstimator`, the interface, and :class:`HypergradientResult`.
* ``implicit.py`` and ``implicit_family.py``, with what θ satisfies in ``conditions/`` and how that is solved in
  ``solvers/``; ``stochastic/``: estimators that carry state from one mini-batch to the next.
* ``unrolled.py``, with ``connection.py``.  ``automatic.py``: the rule of "auto".
* ``registry.py``: the table of their names.  ``accuracy.py``: the error that each promises.  ``diagnosis.py``: how
  good is this one?
* ``batch_means.py``: losses over several batches.  ``vectors.py``: tensors as one vector.
* ``meta.py``: stepping λ in one process.  ``outer_space.py``: λ as tensors, u = log λ as arrays.
* ``update.py``: λ in, commit out; what workers and the single-node loop both run.

A new estimator is one file, a row in ``registry.ESTIMATORS`` and one in ``accuracy.ACCURACY``; the contract tests
(``tests/unit/hypergradient/test_contract.py``, ``test_accuracy.py``) run over the tables.
Coordinator code must not import this package: it needs torch.
"""

from chronos_common.hypergradient.automatic import AutomaticEstimator
from chronos_common.hypergradient.base import (
    HypergradientEstimator,
    HypergradientResult,
    TaskHypergradient,
)
from chronos_common.hypergradient.diagnosis import Diagnosis, diagnose
from chronos_common.hypergradient.implicit import ImplicitConfig, ImplicitDifferentiation
from chronos_common.hypergradient.meta import MetaOptimizer, MetaState
from chronos_common.hypergradient.outer_space import OuterSpace
from chronos_common.hypergradient.registry import ESTIMATORS, make_estimator
from chronos_common.hypergradient.unrolled import UnrolledConfig, UnrolledDifferentiation
from chronos_common.hypergradient.update import Carry, InnerUpdate, compute_update

__all__ = [
    "ESTIMATORS",
    "AutomaticEstimator",
    "Carry",
    "Diagnosis",
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
    "diagnose",
    "make_estimator",
]
