"""How long a worker's piece of work is predicted to take: an input to leases, made elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chronos_common.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Seconds from a checkout to its commit, for the work that is assigned.

    Attributes:
        p50: the median.
        p95: exceeded by one in twenty.
    """

    p50: float
    p95: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.p95) and 0.0 <= self.p50 <= self.p95):
            raise ConfigurationError(
                f"predicted seconds are p50 {self.p50} and p95 {self.p95}; they must rise"
            )
