"""Which sample goes to which worker: balance inside the plain shuffled batch (numpy; torch faces apart).

* ``plan.py``: what a plan is made of and for: :class:`PlanConfig`, :class:`Speeds`, :class:`Caps`, :class:`StepPlan`.
* ``planner.py``: :class:`Planner` and :func:`rebalance`.
* ``costs.py``: what a sample costs.
"""

from chronos_common.data.plan import Caps, Groups, PlanConfig, Speeds, StepPlan
from chronos_common.data.planner import Planner, rebalance

__all__ = ["Caps", "Groups", "PlanConfig", "Planner", "Speeds", "StepPlan", "rebalance"]
