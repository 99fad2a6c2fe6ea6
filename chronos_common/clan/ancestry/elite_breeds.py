"""Only the elite breeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chronos_common.clan.ancestry.base import Weights, eligible, shares
from chronos_common.clan.genome import Genome
from chronos_common.clan.ranges import require_between
from chronos_common.errors import ConfigurationError
from chronos_common.runtime import require_kinds


@dataclass(frozen=True, kw_only=True)
class EliteBreeds:
    """``parents`` drawn without repetition from the best ``elite``, in equal shares."""

    elite: int = 2
    parents: int = 2

    def __post_init__(self) -> None:
        require_kinds(self)
        require_between("EliteBreeds.parents", self.parents, 1, 1_000)
        if self.elite < self.parents:
            raise ConfigurationError(
                f"EliteBreeds.elite is {self.elite}, below its {self.parents} parents; raise it"
            )

    @property
    def most_parents(self) -> int | None:
        """As many as are drawn."""
        return self.parents

    @property
    def fewest_parents(self) -> int:
        """As many as are drawn."""
        return self.parents

    def weights(self, population: Sequence[Genome], draw: np.random.Generator) -> Weights:
        elite = eligible(population)[: self.elite]
        chosen = draw.choice(elite, min(self.parents, len(elite)), replace=False)
        return shares(len(population), chosen.tolist())
