"""Steps along differences that the population has (differential evolution: Storn and Price 1997)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from chronos_common.clan.alleles import Allele, ContinuousAllele
from chronos_common.clan.genome import Genome
from chronos_common.clan.mutation.base import Adaptation, Alleles, adapt, changed
from chronos_common.clan.ranges import require_between
from chronos_common.runtime import require_kinds


@dataclass(frozen=True, kw_only=True)
class Differential:
    """Coordinate + F·(a − b) + unit·σ'·N/10 for two members a ≠ b, the same two for all genes of a child.

    The small normal step keeps a population of equals from standing still.
    """

    scale: float = 0.8
    chance: float = 1.0
    adaptation: Adaptation = field(default_factory=Adaptation)
    fewest_members: ClassVar[int] = 3

    def __post_init__(self) -> None:
        require_kinds(self)
        require_between("Differential.scale", self.scale, 0.0, 2.0)
        require_between("Differential.chance", self.chance, 0.0, 1.0)

    def mutate(
        self, alleles: Mapping[str, Allele], population: Sequence[Genome], draw: np.random.Generator
    ) -> Alleles:
        adapted = adapt(alleles, self.adaptation, draw)
        pair = draw.choice(len(population), min(2, len(population)), replace=False).tolist()
        first, second = population[pair[0]], population[pair[-1]]
        differences = {
            name: a.coordinate - b.coordinate
            for name, a in first.alleles.items()
            if isinstance(a, ContinuousAllele) and isinstance(b := second.alleles[name], ContinuousAllele)
        }

        def step(name: str, allele: ContinuousAllele, std: float) -> float:
            return self.scale * differences[name] + 0.1 * allele.unit * std * float(draw.normal())

        return changed(adapted, self.chance, step, draw)
