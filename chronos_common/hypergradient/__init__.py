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
from chronos_common.hypergradient.bome import BOME
from chronos_common.hypergradient.evolution import EvolutionStrategies
from chronos_common.hypergradient.f2sa import F2SA
from chronos_common.hypergradient.finite_difference import FiniteDifference
from chronos_common.hypergradient.forward_mode import ForwardModeDifferentiation
from chronos_common.hypergradient.implicit import ImplicitConfig, ImplicitDifferentiation
from chronos_common.hypergradient.meta import MetaOptimizer, MetaState
from chronos_common.hypergradient.outer_space import OuterSpace
from chronos_common.hypergradient.persistent_evolution import PersistentEvolution
from chronos_common.hypergradient.pseudo_gradient import PseudoGradient
from chronos_common.hypergradient.pzobo import PZOBO
from chronos_common.hypergradient.recompute import RecomputeDifferentiation
from chronos_common.hypergradient.registry import ESTIMATORS, make_estimator
from chronos_common.hypergradient.reversible import ReversibleDifferentiation
from chronos_common.hypergradient.sama import SAMA
from chronos_common.hypergradient.unrolled import UnrolledConfig, UnrolledDifferentiation
from chronos_common.hypergradient.update import Carry, InnerUpdate, compute_update

__all__ = [
    "BOME",
    "ESTIMATORS",
    "F2SA",
    "PZOBO",
    "SAMA",
    "Carry",
    "EvolutionStrategies",
    "FiniteDifference",
    "ForwardModeDifferentiation",
    "HypergradientEstimator",
    "HypergradientResult",
    "ImplicitConfig",
    "ImplicitDifferentiation",
    "InnerUpdate",
    "MetaOptimizer",
    "MetaState",
    "OuterSpace",
    "PersistentEvolution",
    "PseudoGradient",
    "RecomputeDifferentiation",
    "ReversibleDifferentiation",
    "TaskHypergradient",
    "UnrolledConfig",
    "UnrolledDifferentiation",
    "compute_update",
    "make_estimator",
]
