"""How a child's alleles change: one file each, one table; ``base.py`` has the interface and the self-adaptation.

To add one: a frozen dataclass that satisfies :class:`Mutation`, and a row in :data:`MUTATIONS`; the contract test runs
over the table.
"""

from collections.abc import Mapping
from types import MappingProxyType

from chronos_common.clan.mutation.base import Adaptation, Mutation
from chronos_common.clan.mutation.cauchy import Cauchy
from chronos_common.clan.mutation.differential import Differential
from chronos_common.clan.mutation.gaussian import Gaussian
from chronos_common.clan.mutation.perturb import Perturb
from chronos_common.clan.mutation.uniform import Uniform

MUTATIONS: Mapping[str, type[Mutation]] = MappingProxyType(
    {
        "cauchy": Cauchy,
        "differential": Differential,
        "gaussian": Gaussian,
        "perturb": Perturb,
        "uniform": Uniform,
    }
)

__all__ = ["MUTATIONS", "Adaptation", "Cauchy", "Differential", "Gaussian", "Mutation", "Perturb", "Uniform"]
