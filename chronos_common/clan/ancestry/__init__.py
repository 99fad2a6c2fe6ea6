"""Who are the parents of a child: one file each, one table; ``base.py`` has the interface.

To add one: a frozen dataclass that satisfies :class:`Ancestry`, and a row in :data:`ANCESTRIES`; the contract test runs
over the table.
"""

from collections.abc import Mapping
from types import MappingProxyType

from chronos_common.clan.ancestry.base import Ancestry, ranked
from chronos_common.clan.ancestry.boltzmann import Boltzmann
from chronos_common.clan.ancestry.elite_breeds import EliteBreeds
from chronos_common.clan.ancestry.rank import Rank
from chronos_common.clan.ancestry.top_n import TopN
from chronos_common.clan.ancestry.tournament import Tournament

ANCESTRIES: Mapping[str, type[Ancestry]] = MappingProxyType(
    {
        "boltzmann": Boltzmann,
        "elite_breeds": EliteBreeds,
        "rank": Rank,
        "top_n": TopN,
        "tournament": Tournament,
    }
)

__all__ = ["ANCESTRIES", "Ancestry", "Boltzmann", "EliteBreeds", "Rank", "TopN", "Tournament", "ranked"]
