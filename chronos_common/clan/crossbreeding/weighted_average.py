"""The mean of the parents, by their shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chronos_common.clan.alleles import Allele, ContinuousAllele
from chronos_common.clan.crossbreeding.base import Alleles, dominated
from chronos_common.clan.genome import Genome


@dataclass(frozen=True, kw_only=True)
class WeightedAverage:
    """Weighted mean of the coordinates (the geometric mean of logarithmic genes); switches and names by majority."""

    exactly: ClassVar[int | None] = None

    def cross(self, parents: Sequence[Genome], shares: Sequence[float], draw: np.random.Generator) -> Alleles:
        def mean(alleles: Sequence[ContinuousAllele]) -> ContinuousAllele:
            terms = (share * allele.coordinate for share, allele in zip(shares, alleles, strict=True))
            return alleles[0].at(math.fsum(terms))

        def majority(alleles: Sequence[Allele]) -> Allele:
            votes: dict[object, float] = {}
            for share, allele in zip(shares, alleles, strict=True):
                votes[allele.expressed] = votes.get(allele.expressed, 0.0) + share
            return next(allele for allele in alleles if votes[allele.expressed] == max(votes.values()))

        return dominated(parents, mean, majority)
