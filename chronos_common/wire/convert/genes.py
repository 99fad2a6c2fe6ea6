"""Alleles and genomes on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from chronos_common.clan.alleles import ALLELES, Allele, BoolAllele, ContinuousAllele, StringAllele
from chronos_common.clan.genome import Genome
from chronos_common.errors import InvalidRequestError
from chronos_common.pb.chronos.v1 import population_pb2 as pb
from chronos_common.wire.convert import scalars

MAX_DEPTH: Final = 8
"""Of alleles in alleles."""

_KINDS: Final = MappingProxyType(
    {
        "float": pb.ALLELE_KIND_FLOAT,
        "int": pb.ALLELE_KIND_INT,
        "log_float": pb.ALLELE_KIND_LOG_FLOAT,
        "bool": pb.ALLELE_KIND_BOOL,
        "string": pb.ALLELE_KIND_STRING,
    }
)
_NAMES: Final = MappingProxyType({int(value): name for name, value in _KINDS.items()})


def value_to_pb(value: Any) -> pb.GeneValue:
    """What a gene is set to."""
    if isinstance(value, bool):
        return pb.GeneValue(flag=value)
    if isinstance(value, int):
        return pb.GeneValue(whole=value)
    return pb.GeneValue(text=value) if isinstance(value, str) else pb.GeneValue(real=value)


def value_from_pb(message: pb.GeneValue) -> Any:
    """What a gene is set to."""
    name = message.WhichOneof("value")
    return None if name is None else getattr(message, name)


def alleles_to_pb(alleles: Mapping[str, Allele]) -> dict[str, pb.Allele]:
    """Alleles by name."""
    return {name: allele_to_pb(allele) for name, allele in alleles.items()}


def alleles_from_pb(message: Mapping[str, pb.Allele], depth: int = MAX_DEPTH) -> dict[str, Allele]:
    """Alleles by name; raises as :func:`allele_from_pb`."""
    if message and not depth:
        raise InvalidRequestError(f"alleles are nested deeper than {MAX_DEPTH}", field="metadata")
    return {
        scalars.name_from_pb(name, "a gene's name"): allele_from_pb(name, message[name], depth - 1)
        for name in sorted(message)
    }


def allele_to_pb(allele: Allele) -> pb.Allele:
    """One allele."""
    found = pb.Allele(
        kind=_KINDS[allele.kind],
        fixed=not allele.can_mutate,
        pure=not allele.can_crossbreed,
        specialised=allele.specialised,
        metadata=alleles_to_pb(allele.metadata),
    )
    if isinstance(allele, ContinuousAllele):
        found.value.real = allele.value
        found.low, found.high = allele.domain
    elif isinstance(allele, BoolAllele):
        found.value.flag = allele.value
    elif isinstance(allele, StringAllele):
        found.value.text = allele.value
        found.options.extend(allele.domain)
    return found


def allele_from_pb(name: str, message: pb.Allele, depth: int = MAX_DEPTH) -> Allele:
    """One allele.

    Raises:
        InvalidRequestError: no such kind, or a value of another kind.
        ConfigurationError: a value outside of its domain, or an empty domain.
    """
    kind = scalars.enum_from_pb(_NAMES, message.kind, f"the kind of gene {name!r}")
    wanted = {"bool": "flag", "string": "text"}.get(kind, "real")
    given = message.value.WhichOneof("value")
    if given != wanted:
        raise InvalidRequestError(
            f"gene {name!r} is of kind {kind}, but its value is {given or 'not there'}; set {wanted}",
            field="value",
        )
    own: dict[str, Any] = {"value": value_from_pb(message.value)}
    if wanted == "real":
        own["domain"] = (message.low, message.high)
    elif wanted == "text":
        own["domain"] = tuple(message.options)
    return ALLELES[kind](
        **own,
        can_mutate=not message.fixed,
        can_crossbreed=not message.pure,
        specialised=message.specialised,
        metadata=alleles_from_pb(message.metadata, depth),
    )


def genome_to_pb(genome: Genome) -> pb.Genome:
    """A genome."""
    return pb.Genome(
        genome_id=genome.genome_id,
        alleles=alleles_to_pb(genome.alleles),
        parents=genome.parents,
        born=genome.born,
        fitness=genome.fitness,
    )


def genome_from_pb(message: pb.Genome) -> Genome:
    """A genome; raises as :func:`allele_from_pb`."""
    return Genome(
        genome_id=message.genome_id,
        alleles=alleles_from_pb(message.alleles),
        parents=tuple(message.parents),
        born=message.born,
        fitness=message.fitness if message.HasField("fitness") else None,
    )
