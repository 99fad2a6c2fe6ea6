"""What a solved θ satisfies, differentiated: the linear systems of implicit differentiation.

* ``base.py``: :class:`Condition`, the interface.
* ``stationarity.py``: the gradient of the inner loss is zero.
"""

from chronos_common.hypergradient.conditions.base import Condition
from chronos_common.hypergradient.conditions.stationarity import Stationarity

__all__ = ["Condition", "Stationarity"]
