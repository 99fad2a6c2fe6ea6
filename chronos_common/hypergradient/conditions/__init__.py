"""What a solved θ satisfies, differentiated: the linear systems of implicit differentiation.

* ``base.py``: :class:`Condition`, the interface.
* ``stationarity.py``: the gradient of the inner loss is zero.
* ``update_map.py``: the inner update leaves θ where it is.
"""

from typing import Final

from chronos_common.hypergradient.conditions.base import Condition
from chronos_common.hypergradient.conditions.stationarity import Stationarity
from chronos_common.hypergradient.conditions.update_map import UpdateMap

CONDITIONS: Final[dict[str, type[Condition]]] = {"stationarity": Stationarity, "update": UpdateMap}

__all__ = ["CONDITIONS", "Condition", "Stationarity", "UpdateMap"]
