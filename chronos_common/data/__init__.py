"""Which sample goes to which worker: balance inside the plain shuffled batch (numpy; torch faces apart).

* ``plan.py``: what a plan is made of and for: :class:`PlanConfig`, :class:`Speeds`, :class:`Caps`, :class:`Groups`,
  :class:`StepPlan`; ``randomness.py``: how the batches are named.
* ``planner.py``: :class:`Planner` and :func:`rebalance`, over the parts below.
* ``costs.py``: what a sample costs; ``pace.py``: how long a worker takes; both as whole numbers.
* ``composer.py``, ``order.py``, ``partition.py``: which batch holds which samples.
* ``balance.py`` over ``deal.py``, ``refine.py``, ``capped.py``, ``segments.py``: who takes which part of a batch.
* ``ledger.py``: every sample exactly once, whoever comes, goes or dies; ``events.py`` is what it is told, ``source.py``
  what a sampler asks, ``dealing.py`` the planner behind it.
* ``definition.py``, ``job.py``, ``slices.py``, ``views.py``: a plan that a coordinator serves.
"""

from chronos_common.data.plan import Caps, Groups, PlanConfig, Speeds, StepPlan
from chronos_common.data.planner import Planner, rebalance

__all__ = ["Caps", "Groups", "PlanConfig", "Planner", "Speeds", "StepPlan", "rebalance"]
