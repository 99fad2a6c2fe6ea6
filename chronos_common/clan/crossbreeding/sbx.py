"""Simulated binary crossover (Deb and Agrawal 1995)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chronos_common.clan.alleles import Allele, ContinuousAllele
from chronos_common.clan.crossbreeding.base import Alleles, dominated
from chronos_common.clan.genome import Genome
from chronos_common.clan.ranges import require_between
from chronos_common.runtime import require_kinds


@dataclass(frozen=True, kw_only=True)
class SBX:
    """c = ((1 + β)·x₁ + (1 − β)·x₂) / 2 of two parents' coordinates.

    β = (2u)^(1/(η+1)) for u < ½, else (1/(2(1−u)))^(1/(η+1)), u uniform; a large ``eta`` keeps the child by its
    parents. Switches and names come from either parent.
    """

    eta: float = 15.0
    exactly: ClassVar[int | None] = 2

    def __post_init__(self) -> None:
        require_kinds(self)
        require_between("SBX.eta", self.eta, 0.0, 1e6)

    def cross(self, parents: Sequence[Genome], shares: Sequence[float], draw: np.random.Generator) -> Alleles:
        def crossed(alleles: Sequence[ContinuousAllele]) -> ContinuousAllele:
            u = float(draw.random())
            ratio = 2.0 * u if u < 0.5 else 1.0 / (2.0 * (1.0 - u))
            beta = ratio ** (1.0 / (self.eta + 1.0))
            first, second = (allele.coordinate for allele in alleles)
            return alleles[0].at(((1.0 + beta) * first + (1.0 - beta) * second) / 2.0)

        def either(alleles: Sequence[Allele]) -> Allele:
            return alleles[int(draw.integers(len(alleles)))]

        return dominated(parents, crossed, either)
