"""One of the best, each as likely as the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chronos_common.clan.ancestry.base import Weights, eligible, one_hot
from chronos_common.clan.genome import Genome
from chronos_common.clan.ranges import require_between
from chronos_common.runtime import require_kinds


@dataclass(frozen=True, kw_only=True)
class TopN:
    """A single parent from the best ``share`` of the population (at least one member)."""

    share: float = 0.25
    most_parents: ClassVar[int | None] = 1
    fewest_parents: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require_kinds(self)
        require_between("TopN.share", self.share, 0.0, 1.0)

    def weights(self, population: Sequence[Genome], draw: np.random.Generator) -> Weights:
        best = eligible(population)[: max(1, int(self.share * len(population)))]
        return one_hot(len(population), best[int(draw.integers(len(best)))])
