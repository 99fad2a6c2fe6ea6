"""Weights of late commits: a function of staleness alone, applied before the optimiser's momentum.

A weight is decided once, when a commit is accepted, and journalled with it: replay takes it from there and
never computes it again. So a rule may use ``exp`` and ``cos``, whose last bit depends on the machine. A commit
that is refused for its staleness is told the weight that it would have had: with that much of it, it returns to
its worker's residual.

Every rule gives 1 to a fresh commit, never more to an older one, and something to every one within the bound.
A new rule is one function and one row of :data:`STALENESS_RULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from chronos_common.errors import ConfigurationError


def exponential_weight(staleness: int, decay: float) -> float:
    """``decay ** staleness`` by repeated multiplication, the same on every machine.

    Args:
        staleness: versions between the commit's base and the current version; 0 or more.
        decay: in (0, 1].
    """
    weight = 1.0
    for _ in range(staleness):
        lower = weight * decay
        if lower == weight:  # decay is 1, or the weight has come to the end of the floats
            break
        weight = lower
    return weight


def polynomial_weight(staleness: int, exponent: float) -> float:
    """``(1 + staleness) ** -exponent`` (FedAsync, Xie et al. 2019): a long tail.

    Args:
        staleness: 0 or more, in versions.
        exponent: 0 or more; 0 weighs everything alike.
    """
    return math.pow(1.0 + staleness, -exponent)


def smooth_cutoff_weight(staleness: int, rate: float, bound: int) -> float:
    """``γ(s)·e^(−rate·s)`` with a cosine ``γ(s) = (1 + cos(π·s / (bound + 1))) / 2`` from 1 to 0.

    γ is 0 at the first staleness that is refused, so that nothing jumps there: a commit just within the bound
    counts for little, one just beyond it for nothing.

    Args:
        staleness: 0 or more, in versions.
        rate: 0 or more, per version; 0 leaves the cosine alone.
        bound: the highest staleness that is accepted.
    """
    if staleness > bound:
        return 0.0
    # The square of the half angle's cosine: 1 + cos would cancel to 0 before the bound.
    cosine = math.cos(0.5 * math.pi * staleness / (bound + 1))
    return cosine * cosine * math.exp(-rate * staleness)


@dataclass(frozen=True, kw_only=True)
class StalenessRule:
    """One way to weigh staleness.

    Attributes:
        weigh: weight of (staleness, parameter, bound), all as in the functions of this module.
        parameter: what the rule's parameter is called.
        default: its value unless it is given.
        highest: its upper limit.
        open_at_zero: whether 0 itself is out of range.
    """

    weigh: Callable[[int, float, int], float]
    parameter: str
    default: float
    highest: float = math.inf
    open_at_zero: bool = False

    def require(self, value: float) -> None:
        """Refuses a parameter out of range.

        Raises:
            ConfigurationError: with the range.
        """
        above = value > 0.0 if self.open_at_zero else value >= 0.0
        if not (math.isfinite(value) and above and value <= self.highest):
            least = "above 0" if self.open_at_zero else "0 or more"
            most = "finite" if self.highest == math.inf else f"at most {self.highest:g}"
            raise ConfigurationError(f"{self.parameter} is {value}; it must be {least} and {most}")


EXPONENTIAL: Final = "exponential"

STALENESS_RULES: Final[Mapping[str, StalenessRule]] = MappingProxyType(
    {
        EXPONENTIAL: StalenessRule(
            weigh=lambda staleness, decay, _: exponential_weight(staleness, decay),
            parameter="decay",
            default=0.5,
            highest=1.0,
            open_at_zero=True,
        ),
        "polynomial": StalenessRule(
            weigh=lambda staleness, exponent, _: polynomial_weight(staleness, exponent),
            parameter="staleness_rate",
            default=0.5,
        ),
        "smooth_cutoff": StalenessRule(weigh=smooth_cutoff_weight, parameter="staleness_rate", default=0.1),
    }
)
"""The rules by name. Their parameter is a field of :class:`~chronos_common.versions.RoundConfig`."""
