"""Tournaments: the best of a few drawn at random, several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chronos_common.clan.ancestry.base import Weights, eligible, shares
from chronos_common.clan.genome import Genome
from chronos_common.clan.ranges import require_between
from chronos_common.runtime import require_kinds


@dataclass(frozen=True, kw_only=True)
class Tournament:
    """Parents in proportion to the tournaments won; ``size`` contestants without repetition, ``rounds`` times."""

    size: int = 3
    rounds: int = 7
    most_parents: ClassVar[int | None] = None
    fewest_parents: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require_kinds(self)
        require_between("Tournament.size", self.size, 1, 1_000)
        require_between("Tournament.rounds", self.rounds, 1, 1_000)

    def weights(self, population: Sequence[Genome], draw: np.random.Generator) -> Weights:
        place = {position: place for place, position in enumerate(eligible(population))}
        contestants = sorted(place)
        size = min(self.size, len(contestants))
        winners = [
            min(draw.choice(contestants, size, replace=False).tolist(), key=place.__getitem__)
            for _ in range(self.rounds)
        ]
        return shares(len(population), winners)
