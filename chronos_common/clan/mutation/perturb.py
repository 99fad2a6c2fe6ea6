"""The rule of population-based training as Ray Tune has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chronos_common.clan.alleles import Allele, ContinuousAllele
from chronos_common.clan.genome import Genome
from chronos_common.clan.mutation.base import Alleles, redrawn
from chronos_common.clan.ranges import require_between
from chronos_common.runtime import require_kinds


@dataclass(frozen=True, kw_only=True)
class Perturb:
    """With probability ``resample`` a value anywhere in the domain, else the value times ``up`` or ``down``.

    Anywhere is uniform in the coordinate. Unlike in Ray Tune, the domain's bounds hold after a multiplication too.
    """

    resample: float = 0.25
    up: float = 1.2
    down: float = 0.8
    fewest_members: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require_kinds(self)
        require_between("Perturb.resample", self.resample, 0.0, 1.0)
        require_between("Perturb.up", self.up, 1.0, 1e3)
        require_between("Perturb.down", self.down, 0.0, 1.0)

    def mutate(
        self, alleles: Mapping[str, Allele], population: Sequence[Genome], draw: np.random.Generator
    ) -> Alleles:
        found = dict(alleles)
        for name in sorted(alleles):
            allele = alleles[name]
            if not allele.can_mutate:
                continue
            anew = draw.random() < self.resample
            if not isinstance(allele, ContinuousAllele):
                found[name] = redrawn(allele, draw) if anew else allele
            elif anew:
                low, high = (allele.holding(end).coordinate for end in allele.domain)
                found[name] = allele.at(float(draw.uniform(low, high)))
            else:
                found[name] = allele.holding(allele.value * (self.up if draw.random() < 0.5 else self.down))
        return found
