"""How parents' alleles become a child's: one file each, one table; ``base.py`` has the interface.

To add one: a frozen dataclass that satisfies :class:`Crossbreeding`, and a row in :data:`CROSSBREEDINGS`; the contract
test runs over the table.
"""

from collections.abc import Mapping
from types import MappingProxyType

from chronos_common.clan.crossbreeding.base import Crossbreeding
from chronos_common.clan.crossbreeding.dominant_parent import DominantParent
from chronos_common.clan.crossbreeding.sbx import SBX
from chronos_common.clan.crossbreeding.stochastic import Stochastic
from chronos_common.clan.crossbreeding.weighted_average import WeightedAverage

CROSSBREEDINGS: Mapping[str, type[Crossbreeding]] = MappingProxyType(
    {
        "dominant_parent": DominantParent,
        "sbx": SBX,
        "stochastic": Stochastic,
        "weighted_average": WeightedAverage,
    }
)

__all__ = ["CROSSBREEDINGS", "SBX", "Crossbreeding", "DominantParent", "Stochastic", "WeightedAverage"]
