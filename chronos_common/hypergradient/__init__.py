"""d outer-loss / d outer-parameter, from finished inner loops (torch).

* ``base.py``: :class:`HypergradientEstimator`, the interface, and :class:`HypergradientResult`.
* ``implicit.py`` and ``implicit_family.py``, with what θ satisfies in ``conditions/`` and how that is solved in
  ``solvers/``; ``stochastic/``: estimators that carry state from one mini-batch to the next.
* through the inner steps: ``unrolled.py``; ``recompute.py`` and ``reversible.py`` (with ``heavy_ball.py`` and
  ``exact_momentum.py``), which go back in a ``sweep.py``; ``forward_mode.py``, with ``tangents.py``. All of them
  with ``replay.py`` and ``connection.py``.
* first derivatives only: ``finite_difference.py``, ``sama.py``, ``f2sa.py``, ``bome.py``, with ``slopes.py``;
  ``pseudo_gradient.py``.
* values only: ``evolution.py``, ``persistent_evolution.py``, ``pzobo.py``, with ``perturbation.py``.
* ``automatic.py``: the rule of "auto".  ``diagnosis.py``: how good is this one?
* ``registry.py``: the table of their names.  ``accuracy.py``: the error that each promises.
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
from chronos_common.hypergradient.bome import BOME
from chronos_common.hypergradient.diagnosis import Diagnosis, diagnose
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
    "AutomaticEstimator",
    "Carry",
    "Diagnosis",
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
    "diagnose",
    "make_estimator",
]
