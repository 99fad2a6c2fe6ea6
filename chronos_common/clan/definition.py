"""The definition of a clan that a coordinator serves; it never changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from chronos_common.clan.alleles import Allele
from chronos_common.clan.config import ClanConfig, config_from_json
from chronos_common.clan.genome import Genome, allele_from_json, allele_to_json
from chronos_common.clan.ranges import require_between
from chronos_common.clan.state import ClanState, found
from chronos_common.errors import ConfigurationError, CorruptStateError
from chronos_common.runtime import require_kinds

MAX_GENES: Final = 1000
MAX_SECONDS: Final = 1e9


@dataclass(frozen=True, kw_only=True)
class ClanDefinition:
    """A population, its genes, and how long its rounds wait.

    Attributes:
        config: the algorithm; it holds the number of members.
        genes: alleles that members begin with, by name.
        seed: of all genomes and selections.
        round_seconds: from the beginning of a round until it closes without those who have not reported; 0: it
            waits for all who live. It never closes before somebody has reported.
        gather_seconds: from the first join until training begins without those who have not come; 0: it waits.

    Raises:
        ConfigurationError: settings that cannot work, or no genes for them.
    """

    config: ClanConfig
    genes: Mapping[str, Allele]
    seed: int = 0
    round_seconds: float = 0.0
    gather_seconds: float = 0.0

    def __post_init__(self) -> None:
        require_kinds(self)
        require_between("seed", self.seed, 0, 2**63 - 1)
        require_between("round_seconds", self.round_seconds, 0.0, MAX_SECONDS)
        require_between("gather_seconds", self.gather_seconds, 0.0, MAX_SECONDS)
        require_between("the number of genes", len(self.genes), 1, MAX_GENES)
        given: Mapping[Any, Any] = self.genes
        if not all(isinstance(name, str) and isinstance(gene, Allele) for name, gene in given.items()):
            raise ConfigurationError("genes must be alleles by name, such as {'lr': LogFloatAllele(...)}")
        object.__setattr__(self, "genes", MappingProxyType(dict(sorted(self.genes.items()))))
        self.found()

    def found(self) -> ClanState:
        """The clan before its first round."""
        return found(self.config, self.genes, self.seed)

    def fits(self, genome: Genome) -> bool:
        """Whether a genome has this clan's genes: the same kinds, domains and switches, whatever their values."""
        return {name: _gene(allele) for name, allele in genome.alleles.items()} == {
            name: _gene(allele) for name, allele in self.genes.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values for :func:`definition_from_json`."""
        return {
            "config": self.config.to_json(),
            "genes": {name: allele_to_json(allele) for name, allele in self.genes.items()},
            "seed": self.seed,
            "round_seconds": self.round_seconds,
            "gather_seconds": self.gather_seconds,
        }


def definition_from_json(parts: Mapping[str, Any]) -> ClanDefinition:
    """Inverse of :meth:`ClanDefinition.to_json`.

    Raises:
        CorruptStateError: malformed.
    """
    try:
        return ClanDefinition(
            config=config_from_json(parts["config"]),
            genes={name: allele_from_json(allele) for name, allele in parts["genes"].items()},
            seed=parts["seed"],
            round_seconds=parts["round_seconds"],
            gather_seconds=parts["gather_seconds"],
        )
    except (AttributeError, ConfigurationError, KeyError, TypeError, ValueError) as error:
        raise CorruptStateError(f"the definition of a clan cannot be read: {error!r}") from error


def _gene(allele: Allele) -> tuple[Any, ...]:
    switches = (allele.can_mutate, allele.can_crossbreed, allele.specialised)
    return (type(allele), getattr(allele, "domain", None), *switches)


def algorithm_from_text(text: str) -> ClanConfig:
    """The algorithm that a client wrote down as JSON.

    Raises:
        ConfigurationError: malformed, or settings that cannot work.
    """
    try:
        return config_from_json(json.loads(text))
    except ConfigurationError:
        raise
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the algorithm cannot be read ({error!r}); send what ClanConfig.to_json gives, as JSON",
            field="algorithm",
        ) from error
