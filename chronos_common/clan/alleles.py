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
from numbers import Real
from types import MappingProxyType
from typing import Any, ClassVar, Self

from chronos_common.errors import ConfigurationError

LINEAR_UNIT = 0.3
"""A step of one standard deviation of a linear gene, as a share of its domain's width."""

SIGNIFICANT_DIGITS = 12

MAX_NUMBER = 1e300
"""Of a domain: sums over a population and the width of a domain stay finite."""

MAX_WHOLE = 2**53
"""Up to it every whole number is one of the real numbers that back them."""


@dataclass(frozen=True, kw_only=True)
class Allele:
    """One value of one gene.

    Attributes:
        can_mutate: whether mutation may change it.
        can_crossbreed: whether it may be mixed with other parents' values.
        specialised: it cannot differ while gradients are shared (dropout, batch size): members take the population's
            consensus then, and express their own only while they compete.
        metadata: alleles of its own by name, to any depth: the standard deviation that it mutates with, say.

    Raises:
        ConfigurationError: a switch that is none, or metadata that are not alleles by name.
    """

    kind: ClassVar[str] = ""
    can_mutate: bool = True
    can_crossbreed: bool = True
    specialised: bool = False
    metadata: Mapping[str, Allele] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("can_mutate", "can_crossbreed", "specialised"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(
                    f"{name} of a {self.kind} gene is {getattr(self, name)!r}; it must be true or false"
                )
        metadata: dict[Any, Any] = dict(self.metadata)
        for name, inner in metadata.items():
            if not (isinstance(name, str) and isinstance(inner, Allele)):
                raise ConfigurationError(
                    f"metadata of a {self.kind} gene hold {inner!r} under {name!r}; they must be alleles by name"
                )
        object.__setattr__(self, "metadata", MappingProxyType(metadata))

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
        given: Any = self.domain
        ends = tuple(given) if isinstance(given, Sequence) else ()
        low, high = (_number(end) for end in ends) if len(ends) == 2 else (math.nan, math.nan)
        if not -MAX_NUMBER <= low < high <= MAX_NUMBER:
            raise ConfigurationError(
                f"the domain of a {self.kind} gene is {self.domain}; it must be (low, high), two numbers within "
                f"±{MAX_NUMBER:g}"
            )
        value = _number(self.value)
        if not low <= value <= high:
            raise ConfigurationError(
                f"a {self.kind} gene is {self.value!r}, outside of its domain {(low, high)}"
            )
        object.__setattr__(self, "domain", (low, high))
        object.__setattr__(self, "value", value)

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
        # What lies above the domain is cut to it anyway, and would overflow if it lay far above.
        end = math.log(self.domain[1])
        return self.domain[1] if coordinate >= end else math.exp(coordinate)


@dataclass(frozen=True, kw_only=True)
class IntAllele(ContinuousAllele):
    """A whole number backed by a real one, so that small steps add up; the backing number is what is stored.

    Raises:
        ConfigurationError: as every number, and for a domain without a whole number or with one beyond ±2⁵³.
    """

    kind: ClassVar[str] = "int"

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.domain
        if math.ceil(low) > math.floor(high) or max(-low, high) > MAX_WHOLE:
            raise ConfigurationError(
                f"the domain of an int gene is {self.domain}; it must hold a whole number, and lie within ±2^53"
            )

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
    """A switch.

    Raises:
        ConfigurationError: the value is none.
    """

    kind: ClassVar[str] = "bool"
    value: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.value, bool):
            raise ConfigurationError(f"a bool gene is {self.value!r}; it must be true or false")

    @property
    def options(self) -> tuple[Any, ...]:
        """What it may be."""
        return (False, True)


@dataclass(frozen=True, kw_only=True)
class StringAllele(Allele):
    """One of several names.

    Raises:
        ConfigurationError: the domain is not several names, or the value is none of them.
    """

    kind: ClassVar[str] = "string"
    value: str
    domain: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        given: Any = self.domain
        names = () if isinstance(given, str) else tuple(given)
        if not names or not all(isinstance(name, str) for name in names):
            raise ConfigurationError(f"the domain of a string gene is {self.domain!r}; it must be names")
        object.__setattr__(self, "domain", names)
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


def _number(value: Any) -> float:
    """The number as a float; NaN, which lies nowhere, for what is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
