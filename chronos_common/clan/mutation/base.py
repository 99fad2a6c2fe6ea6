"""The interface of mutation, and the standard deviations that adapt themselves.

Before a genome's values change, so do the standard deviations that they change with (Schwefel's log-normal rule):
σ' = clip(σ · exp(τ₀·N₀ + τ·N_k), low, high), τ₀ = 1/√(2n), τ = 1/√(2√n), n the number of genes that mutate, N₀ one
draw for the genome and N_k one for each gene. σ is inherited as the allele ``std`` in each gene's metadata.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from chronos_common.clan.alleles import MAX_NUMBER, Allele, ContinuousAllele, LogFloatAllele
from chronos_common.clan.genome import Genome
from chronos_common.clan.ranges import require_between
from chronos_common.errors import ConfigurationError
from chronos_common.runtime import require_kinds

STD = "std"

Alleles = dict[str, Allele]
Step = Callable[[str, ContinuousAllele, float], float]


class Mutation(Protocol):
    """Changes a child's alleles."""

    @property
    def fewest_members(self) -> int:
        """The smallest population that it works in."""
        ...

    def mutate(
        self, alleles: Mapping[str, Allele], population: Sequence[Genome], draw: np.random.Generator
    ) -> Alleles:
        """The alleles after mutation; what may not mutate is unchanged, domains are kept.

        Args:
            alleles: of the child.
            population: those who live, whose differences may be used.
            draw: seeded randomness.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """Of the standard deviations, in units of each allele.

    Attributes:
        start: of a gene that has none yet.
        low: the smallest.
        high: the largest.
    """

    start: float = 0.2
    low: float = 0.05
    high: float = 1.0

    def __post_init__(self) -> None:
        require_kinds(self)
        bounded = 0.0 < self.low <= self.start <= self.high <= MAX_NUMBER
        if not bounded or self.low == self.high:
            raise ConfigurationError(
                f"standard deviations start at {self.start}, between {self.low} and {self.high}; it must hold "
                "that 0 < low <= start <= high and low < high"
            )


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """What mutations by self-adapting steps share.

    Attributes:
        chance: that a gene changes at all.
        adaptation: of the standard deviations.
    """

    chance: float = 1.0
    adaptation: Adaptation = field(default_factory=Adaptation)
    fewest_members: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require_kinds(self)
        require_between(f"{type(self).__name__}.chance", self.chance, 0.0, 1.0)

    def mutate(
        self, alleles: Mapping[str, Allele], population: Sequence[Genome], draw: np.random.Generator
    ) -> Alleles:
        """As the interface says: the standard deviations first, then the values."""
        adapted = adapt(alleles, self.adaptation, draw)
        return changed(adapted, self.chance, lambda _, allele, std: self.step(allele, std, draw), draw)

    def step(self, allele: ContinuousAllele, std: float, draw: np.random.Generator) -> float:
        """Change of the coordinate."""
        raise ConfigurationError(
            f"{type(self).__name__} has no step of its own; use one of the table's mutations"
        )


def adapt(alleles: Mapping[str, Allele], adaptation: Adaptation, draw: np.random.Generator) -> Alleles:
    """The alleles with new standard deviations in their metadata."""
    names = [name for name in sorted(alleles) if alleles[name].can_mutate]
    if not names:
        return dict(alleles)
    common = float(draw.normal()) / math.sqrt(2.0 * len(names))
    own = 1.0 / math.sqrt(2.0 * math.sqrt(len(names)))
    found = dict(alleles)
    for name in names:
        std = std_of(alleles[name], adaptation)
        step = common + own * float(draw.normal())
        found[name] = alleles[name].with_metadata(**{STD: std.at(std.coordinate + step)})
    return found


def std_of(allele: Allele, adaptation: Adaptation) -> LogFloatAllele:
    """The standard deviation that an allele carries, or the one to start with."""
    carried = allele.metadata.get(STD)
    start = carried.value if isinstance(carried, ContinuousAllele) else adaptation.start
    domain = (adaptation.low, adaptation.high)
    return LogFloatAllele(value=min(max(start, domain[0]), domain[1]), domain=domain, can_mutate=False)


def changed(alleles: Mapping[str, Allele], chance: float, step: Step, draw: np.random.Generator) -> Alleles:
    """Each gene, with the given chance, moved by ``step``; switches and names are drawn anew with probability σ."""
    found = dict(alleles)
    for name in sorted(alleles):
        allele = alleles[name]
        if not allele.can_mutate or draw.random() >= chance:
            continue
        carried = allele.metadata.get(STD)
        std = carried.value if isinstance(carried, ContinuousAllele) else 1.0
        if isinstance(allele, ContinuousAllele):
            found[name] = allele.at(allele.coordinate + step(name, allele, std))
        elif draw.random() < std:
            found[name] = redrawn(allele, draw)
    return found


def redrawn(allele: Allele, draw: np.random.Generator) -> Allele:
    """A copy of a switch or a name with any of its options."""
    options: tuple[Any, ...] = getattr(allele, "options", ())
    return allele.with_value(options[int(draw.integers(len(options)))]) if options else allele
