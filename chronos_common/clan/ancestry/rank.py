"""Shares by rank, whatever the distances between losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chronos_common.clan.ancestry.base import Weights, ranked
from chronos_common.clan.genome import Genome
from chronos_common.clan.ranges import require_between
from chronos_common.runtime import require_kinds


@dataclass(frozen=True, kw_only=True)
class Rank:
    """The share of the member of rank r (0 the best) is proportional to exp(−``pressure``·r)."""

    pressure: float = 1.0
    most_parents: ClassVar[int | None] = None
    fewest_parents: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require_kinds(self)
        require_between("Rank.pressure", self.pressure, 0.0, 100.0)

    def weights(self, population: Sequence[Genome], draw: np.random.Generator) -> Weights:
        order = ranked(population)
        found = np.zeros(len(population))
        found[order] = np.exp(-self.pressure * np.arange(len(order)))
        measured = np.isfinite([genome.loss for genome in population])
        found = np.where(measured, found, 0.0) if measured.any() else found
        return np.asarray(found / found.sum(), dtype=np.float64)
