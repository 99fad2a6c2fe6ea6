"""Ancestry, crossbreeding and mutation together: a population in, a child out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from chronos_common.clan.ancestry import ANCESTRIES, Ancestry, TopN
from chronos_common.clan.crossbreeding import CROSSBREEDINGS, Crossbreeding, DominantParent
from chronos_common.clan.genome import Genome, new_id
from chronos_common.clan.mutation import MUTATIONS, Adaptation, Gaussian, Mutation
from chronos_common.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Child:
    """Who was bred.

    Attributes:
        genome: of the child.
        source: position in the population of its dominant parent, whose weights it takes.
    """

    genome: Genome
    source: int


@dataclass(frozen=True, kw_only=True)
class Breeding:
    """The three strategies of a population.

    Raises:
        ConfigurationError: the crossbreeding needs another number of parents than the ancestry gives.
    """

    ancestry: Ancestry = field(default_factory=TopN)
    crossbreeding: Crossbreeding = field(default_factory=DominantParent)
    mutation: Mutation = field(default_factory=Gaussian)

    def __post_init__(self) -> None:
        wanted = self.crossbreeding.exactly
        given = (self.ancestry.fewest_parents, self.ancestry.most_parents)
        if wanted is not None and given != (wanted, wanted):
            raise ConfigurationError(
                f"{type(self.crossbreeding).__name__} crosses {wanted} parents, but {type(self.ancestry).__name__} "
                f"gives from {given[0]} to {given[1] or 'all'}; use EliteBreeds(elite={wanted}, parents={wanted})"
            )

    def require_population(self, size: int) -> None:
        """Refuses a population that is too small for these strategies.

        Raises:
            ConfigurationError: says how many it takes.
        """
        least = max(self.ancestry.fewest_parents, self.mutation.fewest_members)
        if size < least:
            raise ConfigurationError(
                f"the population has {size} members, but {type(self.ancestry).__name__} with "
                f"{type(self.mutation).__name__} needs {least}; raise population_size or choose others"
            )

    def breed(
        self, population: Sequence[Genome], *, born: int, draw: np.random.Generator, mutate: bool = True
    ) -> Child:
        """A child of the population.

        When too few members live for the crossbreeding, the child is its dominant parent's.
        """
        weights = self.ancestry.weights(population, draw)
        parents = sorted(
            np.flatnonzero(weights).tolist(), key=lambda position: (-weights[position], position)
        )
        exactly = self.crossbreeding.exactly
        members = [population[position] for position in parents]
        crossing = self.crossbreeding if exactly in (None, len(members)) else DominantParent()
        alleles = crossing.cross(members, [float(weights[position]) for position in parents], draw)
        if mutate and len(population) >= self.mutation.fewest_members:
            alleles = self.mutation.mutate(alleles, population, draw)
        others = tuple(member.genome_id for member in members[1:])
        child = members[0].child(alleles, genome_id=new_id(draw), born=born, others=others)
        return Child(genome=child, source=parents[0])

    def to_json(self) -> dict[str, Any]:
        """Names and settings, for :func:`breeding_from_json`."""
        return {
            "ancestry": _named(ANCESTRIES, self.ancestry),
            "crossbreeding": _named(CROSSBREEDINGS, self.crossbreeding),
            "mutation": _named(MUTATIONS, self.mutation),
        }


def breeding_from_json(parts: Mapping[str, Any]) -> Breeding:
    """Inverse of :meth:`Breeding.to_json`."""
    return Breeding(
        ancestry=_made(ANCESTRIES, parts["ancestry"]),
        crossbreeding=_made(CROSSBREEDINGS, parts["crossbreeding"]),
        mutation=_made(MUTATIONS, parts["mutation"]),
    )


def _named(table: Mapping[str, type[Any]], strategy: Any) -> dict[str, Any]:
    name = next((name for name, kind in table.items() if kind is type(strategy)), None)
    if name is None:
        raise ConfigurationError(
            f"{type(strategy).__name__} is in no table, so that no journal can name it; add it to one"
        )
    return {"name": name, **asdict(strategy)}


def _made(table: Mapping[str, type[Any]], parts: Mapping[str, Any]) -> Any:
    settings = {key: value for key, value in parts.items() if key != "name"}
    if "adaptation" in settings:
        settings["adaptation"] = Adaptation(**settings["adaptation"])
    return table[parts["name"]](**settings)
