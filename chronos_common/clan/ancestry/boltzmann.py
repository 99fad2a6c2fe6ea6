"""Shares by loss, after Boltzmann: exp(−loss / temperature)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chronos_common.clan.ancestry.base import Weights
from chronos_common.clan.genome import Genome
from chronos_common.clan.ranges import require_between
from chronos_common.runtime import require_kinds


@dataclass(frozen=True, kw_only=True)
class Boltzmann:
    """Shares proportional to exp(−(loss − best) / ``temperature``).

    The best loss is subtracted first, so that the largest exponent is 0: no loss overflows, and the sum is at least 1.
    """

    temperature: float = 1.0
    most_parents: ClassVar[int | None] = None
    fewest_parents: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require_kinds(self)
        require_between("Boltzmann.temperature", self.temperature, 1e-12, 1e12)

    def weights(self, population: Sequence[Genome], draw: np.random.Generator) -> Weights:
        losses = np.array([genome.loss for genome in population])
        best = losses.min()
        if not np.isfinite(best):
            level = losses == best
            return np.asarray(level / level.sum(), dtype=np.float64)
        with np.errstate(over="ignore", under="ignore"):
            found = np.exp(-(losses - best) / self.temperature)
        return np.asarray(found / found.sum(), dtype=np.float64)
