"""Alleles: what a gene's value is, where it may lie, and how values of its kind are mixed.

An allele is immutable. Breeding works on its *coordinate* (the logarithm for :class:`LogFloatAllele`), so that one
rule serves all continuous kinds; :meth:`ContinuousAllele.at` clips to the domain and rounds to 12 significant digits,
which leaves no trace of how a machine's mathematical library rounds its last place.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Self

from chronos_common.errors import ConfigurationError

LINEAR_UNIT = 0.3
"""A step of one standard deviation of a linear gene, as a share of its domain's width."""

SIGNIFICANT_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Allele:
    """One value of one gene.

    Attributes:
        can_mutate: whether mutation may change it.
        can_crossbreed: whether it may be mixed with other parents' values.
        specialised: it cannot differ while gradients are shared (dropout, batch size): members take the population's
            consensus then, and express their own only while they compete.
        metadata: alleles of its own by name, to any depth: the standard deviation that it mutates with, say.
    """

    kind: ClassVar[str] = ""
    can_mutate: bool = True
    can_crossbreed: bool = True
    specialised: bool = False
    metadata: Mapping[str, Allele] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    @property
    def expressed(self) -> Any:
        """The value that training uses."""
        return self.own_fields()["value"]

    def own_fields(self) -> dict[str, Any]:
        """What its kind adds to the fields of every allele, JSON-able."""
        names = (name for name in self.__dataclass_fields__ if name not in Allele.__dataclass_fields__)
        return {name: _plain(getattr(self, name)) for name in names}

    def consensus(self, others: Sequence[Allele]) -> Allele:
        """This allele with the value that it and the others agree on; by majority, the first among equals."""
        counted = Counter(allele.expressed for allele in (self, *others))
        return self.with_value(counted.most_common(1)[0][0])

    def with_value(self, value: Any) -> Self:
        """A copy with this value, which must be one of the domain."""
        changes: dict[str, Any] = {"value": value}
        return replace(self, **changes)

    def with_metadata(self, **alleles: Allele) -> Self:
        """A copy with these alleles of its own added or replaced."""
        return replace(self, metadata={**self.metadata, **alleles})


@dataclass(frozen=True, kw_only=True)
class ContinuousAllele(Allele):
    """A number in a closed, finite domain.

    Raises:
        ConfigurationError: no such number, or an empty domain.
    """

    value: float
    domain: tuple[float, float]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "domain", (float(self.domain[0]), float(self.domain[1])))
        low, high = self.domain
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigurationError(
                f"the domain of a {self.kind} gene is {self.domain}; it must be (low, high)"
            )
        if not low <= self.value <= high:
            raise ConfigurationError(
                f"a {self.kind} gene is {self.value}, outside of its domain {self.domain}"
            )
        object.__setattr__(self, "value", float(self.value))

    @property
    def coordinate(self) -> float:
        """Where breeding sees it."""
        return self.value

    @property
    def unit(self) -> float:
        """Change of the coordinate by one standard deviation of mutation."""
        return LINEAR_UNIT * (self.domain[1] - self.domain[0])

    def at(self, coordinate: float) -> Self:
        """A copy at this coordinate, or at the nearest end of the domain; NaN leaves it where it is."""
        if math.isnan(coordinate):
            return self
        return self.holding(self.natural(coordinate))

    def holding(self, value: float) -> Self:
        """A copy with this value, clipped to the domain and rounded."""
        clipped = min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), self.domain[0]), self.domain[1])
        return replace(self, value=clipped)

    def natural(self, coordinate: float) -> float:
        """The value at a coordinate, inside of the domain or not."""
        return coordinate

    def consensus(self, others: Sequence[Allele]) -> Allele:
        """The mean of the coordinates."""
        family = (self, *(other for other in others if isinstance(other, ContinuousAllele)))
        return self.at(math.fsum(allele.coordinate for allele in family) / len(family))


@dataclass(frozen=True, kw_only=True)
class FloatAllele(ContinuousAllele):
    """A real number on a linear scale."""

    kind: ClassVar[str] = "float"


@dataclass(frozen=True, kw_only=True)
class LogFloatAllele(ContinuousAllele):
    """A positive number whose ratios matter; its coordinate is its natural logarithm."""

    kind: ClassVar[str] = "log_float"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.domain[0] <= 0.0:
            raise ConfigurationError(f"a log_float gene's domain is {self.domain}; it must lie above 0")

    @property
    def coordinate(self) -> float:
        return math.log(self.value)

    @property
    def unit(self) -> float:
        return 1.0

    def natural(self, coordinate: float) -> float:
        return math.exp(min(coordinate, math.log(self.domain[1]) + 1.0))


@dataclass(frozen=True, kw_only=True)
class IntAllele(ContinuousAllele):
    """A whole number backed by a real one, so that small steps add up; the backing number is what is stored."""

    kind: ClassVar[str] = "int"

    @property
    def expressed(self) -> int:
        """The nearest whole number, upwards from a half, inside of the domain."""
        low, high = math.ceil(self.domain[0]), math.floor(self.domain[1])
        return min(max(math.floor(self.value + 0.5), low), high)

    def consensus(self, others: Sequence[Allele]) -> Allele:
        """The median."""
        family = (self, *(other for other in others if isinstance(other, IntAllele)))
        return self.at(statistics.median(allele.coordinate for allele in family))


@dataclass(frozen=True, kw_only=True)
class BoolAllele(Allele):
    """A switch."""

    kind: ClassVar[str] = "bool"
    value: bool

    @property
    def options(self) -> tuple[Any, ...]:
        """What it may be."""
        return (False, True)


@dataclass(frozen=True, kw_only=True)
class StringAllele(Allele):
    """One of several names.

    Raises:
        ConfigurationError: the value is not in the domain.
    """

    kind: ClassVar[str] = "string"
    value: str
    domain: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "domain", tuple(self.domain))
        if self.value not in self.domain:
            raise ConfigurationError(
                f"a string gene is {self.value!r}; its domain is {', '.join(self.domain)}"
            )

    @property
    def options(self) -> tuple[Any, ...]:
        """What it may be."""
        return self.domain


ALLELES: Mapping[str, type[Allele]] = MappingProxyType(
    {kind.kind: kind for kind in (FloatAllele, IntAllele, LogFloatAllele, BoolAllele, StringAllele)}
)
"""The kinds of alleles by the name that they are stored under."""


def walk(alleles: Mapping[str, Allele], prefix: str = "") -> Iterator[tuple[str, Allele]]:
    """Every allele with its path (``"lr"``, ``"lr/std"``), parents before what they hold."""
    for name in sorted(alleles):
        yield prefix + name, alleles[name]
        yield from walk(alleles[name].metadata, f"{prefix}{name}/")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
