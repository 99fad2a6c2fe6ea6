"""The interface of crossbreeding: how the alleles of parents become those of a child."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from chronos_common.clan.alleles import Allele, ContinuousAllele
from chronos_common.clan.genome import Genome

Alleles = dict[str, Allele]


class Crossbreeding(Protocol):
    """Mixes the parents' alleles."""

    @property
    def exactly(self) -> int | None:
        """The number of parents that it needs; ``None`` for any."""
        ...

    def cross(self, parents: Sequence[Genome], shares: Sequence[float], draw: np.random.Generator) -> Alleles:
        """The child's alleles.

        Args:
            parents: distinct, the one of the largest share first: it is the child's dominant parent, and what may
                not be crossbred is the child's from it.
            shares: of each parent, above 0 and of sum 1.
            draw: seeded randomness.
        """
        ...


def dominated(
    parents: Sequence[Genome],
    continuous: Callable[[Sequence[ContinuousAllele]], ContinuousAllele],
    discrete: Callable[[Sequence[Allele]], Allele],
) -> Alleles:
    """Crosses gene by gene, and in each gene's metadata with the same rule; what may not be mixed is dominant's."""
    return {
        name: _crossed([parent.alleles[name] for parent in parents], continuous, discrete)
        for name in parents[0].alleles
    }


def _crossed(
    alleles: Sequence[Allele],
    continuous: Callable[[Sequence[ContinuousAllele]], ContinuousAllele],
    discrete: Callable[[Sequence[Allele]], Allele],
) -> Allele:
    first = alleles[0]
    if not first.can_crossbreed:
        return first
    numbers = [allele for allele in alleles if isinstance(allele, ContinuousAllele)]
    found = continuous(numbers) if len(numbers) == len(alleles) else discrete(alleles)
    metadata = {
        name: _crossed([allele.metadata[name] for allele in alleles], continuous, discrete)
        for name in sorted(first.metadata)
        if all(name in allele.metadata for allele in alleles)
    }
    return replace(found, metadata={**first.metadata, **metadata})
