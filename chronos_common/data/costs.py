"""What a sample costs, and costs as whole numbers.

A plan must come out the same on every machine, and sums of floats depend on their order. So costs are rounded once to
multiples of a power of two that is so small that it does no harm, and so large that all sums of a batch are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chronos_common.data.pace import EXACT_BITS
from chronos_common.data.plan import Reals
from chronos_common.errors import ConfigurationError

CostModel = Callable[[Reals], Reals]
"""Sizes to costs, elementwise: (N,) to (N,), zero or more, finite."""

COSTS: Final[Mapping[str, CostModel]] = MappingProxyType(
    {
        "linear": lambda sizes: sizes,
        "quadratic": lambda sizes: sizes * sizes,
        # One sample alone pads nothing; that a share costs count x longest is what the kind "guided" knows.
        "padded": lambda sizes: sizes,
    }
)
"""To add a cost model: a row here."""

_SMALLEST_EXPONENT: Final = -1074


@dataclass(frozen=True, kw_only=True, eq=False)
class Costs:
    """Costs in whole units.

    Attributes:
        units: (N,); the sum of a batch has at most 42 bits.
        unit: cost of one, a power of two.
        grain: all are multiples of it.
    """

    units: NDArray[np.int64]
    unit: float
    grain: int


def checked_sizes(sizes: ArrayLike) -> Reals:
    """Sizes as float64, (N,).

    Raises:
        ConfigurationError: none at all, not one for each sample, or one that is not finite and above zero.
    """
    found = np.asarray(sizes, dtype=np.float64)
    if found.ndim != 1 or not found.size:
        raise ConfigurationError(f"sizes have the shape {found.shape}; give one number for each sample")
    bad = np.flatnonzero(~(found > 0) | ~np.isfinite(found))
    if bad.size:
        raise ConfigurationError(
            f"sample {bad[0]} has the size {found[bad[0]]:g} ({bad.size} like it); sizes are finite and above 0: give "
            "an empty sample what its fixed work costs, for example 1",
            index=int(bad[0]),
        )
    return found


def costs_of(sizes: Reals, cost: str | CostModel, batch: int) -> Costs:
    """Costs of samples, such that sums over ``batch`` of them are exact.

    Args:
        sizes: (N,).
        cost: name of a cost model, or a callable.
        batch: samples that are added up at most.

    Raises:
        ConfigurationError: no such model, or it returned something else than N finite numbers from 0 on.
    """
    if isinstance(cost, str):
        if cost not in COSTS:
            raise ConfigurationError(f"cost is {cost!r}; it must be one of {', '.join(COSTS)}, or a callable")
        cost = COSTS[cost]
    with np.errstate(over="ignore"):
        found = np.asarray(cost(sizes), dtype=np.float64)
    if found.shape != sizes.shape:
        raise ConfigurationError(
            f"the cost model made {found.shape} of {sizes.shape}; it must keep the shape"
        )
    bad = np.flatnonzero(~(found >= 0) | ~np.isfinite(found))
    if bad.size:
        raise ConfigurationError(
            f"sample {bad[0]} of size {sizes[bad[0]]:g} costs {found[bad[0]]:g}; costs are finite and not below 0: "
            "scale the sizes, or use another cost model",
            index=int(bad[0]),
        )
    largest = float(found.max())
    bits = int(np.frexp(largest)[1]) + max(1, batch).bit_length() - EXACT_BITS
    exponent = max(bits, _SMALLEST_EXPONENT)
    units = np.rint(np.ldexp(found, -exponent)).astype(np.int64)
    return Costs(units=units, unit=float(np.ldexp(1.0, exponent)), grain=max(1, int(np.gcd.reduce(units))))
