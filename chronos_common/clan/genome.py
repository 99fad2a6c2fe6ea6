"""Genomes: a set of alleles with an identity, parents and a fitness; immutable."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from chronos_common.clan.alleles import ALLELES, Allele
from chronos_common.errors import ConfigurationError, CorruptStateError


@dataclass(frozen=True, kw_only=True)
class Genome:
    """What one member trains with.

    Attributes:
        genome_id: UUID, drawn from the population's seed.
        alleles: by the genes' names.
        parents: ids of the genomes that it was bred from, the one whose weights it took first.
        born: round in which it was made.
        fitness: validation loss that it reached, less is better; ``None`` before the first report.

    Raises:
        ConfigurationError: no genes, or something that is no allele.
    """

    genome_id: str
    alleles: Mapping[str, Allele]
    parents: tuple[str, ...] = ()
    born: int = 0
    fitness: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.alleles:
            raise ConfigurationError("a genome has no genes; declare some, or bind an optimiser's (autobind)")
        given: Mapping[Any, Any] = self.alleles
        for name, allele in given.items():
            if not (isinstance(name, str) and isinstance(allele, Allele)):
                raise ConfigurationError(f"gene {name!r} is {allele!r}; genes are alleles by name")
        object.__setattr__(self, "alleles", MappingProxyType(dict(sorted(self.alleles.items()))))

    @property
    def loss(self) -> float:
        """The fitness as a key to sort by: what is not finite or was never measured is infinite."""
        return self.fitness if self.fitness is not None and math.isfinite(self.fitness) else math.inf

    def values(self) -> dict[str, Any]:
        """What training uses, by gene."""
        return {name: allele.expressed for name, allele in self.alleles.items()}

    def with_alleles(self, alleles: Mapping[str, Allele]) -> Genome:
        """A copy with some alleles replaced; still the same individual."""
        return replace(self, alleles={**self.alleles, **alleles})

    def child(
        self, alleles: Mapping[str, Allele], *, genome_id: str, born: int, others: tuple[str, ...] = ()
    ) -> Genome:
        """A new individual that this one (and ``others``, ids) begot."""
        parents = (self.genome_id, *(other for other in others if other != self.genome_id))
        return Genome(genome_id=genome_id, alleles=alleles, parents=parents, born=born)

    def to_json(self) -> dict[str, Any]:
        """Plain values for :func:`genome_from_json`; ``json`` keeps every bit of a float."""
        return {
            "genome_id": self.genome_id,
            "alleles": {name: allele_to_json(allele) for name, allele in self.alleles.items()},
            "parents": list(self.parents),
            "born": self.born,
            "fitness": None if self.fitness is None or not math.isfinite(self.fitness) else self.fitness,
        }


def allele_to_json(allele: Allele) -> dict[str, Any]:
    """Plain values for :func:`allele_from_json`."""
    return {
        "kind": allele.kind,
        **allele.own_fields(),
        "can_mutate": allele.can_mutate,
        "can_crossbreed": allele.can_crossbreed,
        "specialised": allele.specialised,
        "metadata": {name: allele_to_json(inner) for name, inner in sorted(allele.metadata.items())},
    }


def allele_from_json(parts: Mapping[str, Any]) -> Allele:
    """Inverse of :func:`allele_to_json`.

    Raises:
        CorruptStateError: malformed, or of an unknown kind.
    """
    try:
        own: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in parts.items()
        }
        kind = ALLELES[own.pop("kind")]
        metadata = {name: allele_from_json(inner) for name, inner in own.pop("metadata").items()}
        return kind(metadata=metadata, **own)
    except (AttributeError, ConfigurationError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CorruptStateError(f"a stored allele is malformed: {error!r}") from error


def genome_from_json(parts: Mapping[str, Any]) -> Genome:
    """Inverse of :meth:`Genome.to_json`; a fitness that was not finite comes back as none.

    Raises:
        CorruptStateError: malformed.
    """
    try:
        return Genome(
            genome_id=text(parts["genome_id"]),
            alleles={name: allele_from_json(inner) for name, inner in parts["alleles"].items()},
            parents=tuple(text(parent) for parent in parts["parents"]),
            born=whole(parts["born"]),
            fitness=None if parts["fitness"] is None else float(parts["fitness"]),
        )
    except (AttributeError, ConfigurationError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise CorruptStateError(f"a stored genome is malformed: {error!r}") from error


def whole(value: Any) -> int:
    """A stored count, from 0 to 2⁶³ − 1; raises ``TypeError`` for what is none."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise TypeError(f"{value!r} is no count")
    return value


def text(value: Any) -> str:
    """A stored name; raises ``TypeError`` for what is none."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def new_id(draw: np.random.Generator) -> str:
    """A version-4 UUID from seeded randomness."""
    return str(uuid.UUID(bytes=draw.bytes(16), version=4))


def consensus(genomes: tuple[Genome, ...]) -> dict[str, Any]:
    """What a population agrees on for its specialised genes, by gene: geometric mean, mean, median or majority."""
    first, *others = genomes
    return {
        name: allele.consensus([other.alleles[name] for other in others]).expressed
        for name, allele in first.alleles.items()
        if allele.specialised
    }
