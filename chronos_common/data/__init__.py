"""Which sample goes to which worker: balance inside the plain shuffled batch (numpy; torch faces apart).

* ``plan.py``: what a plan is made of and for: :class:`PlanConfig`, :class:`Speeds`, :class:`Caps`, :class:`StepPlan`.
"""

from chronos_common.data.plan import Caps, PlanConfig, Speeds, StepPlan

__all__ = ["Caps", "PlanConfig", "Speeds", "StepPlan"]
