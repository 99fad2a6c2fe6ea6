"""The interface of an ancestry: who are the parents of a child."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from chronos_common.clan.genome import Genome

Weights = NDArray[np.float64]


class Ancestry(Protocol):
    """Chooses parents by fitness."""

    @property
    def most_parents(self) -> int | None:
        """The largest number of distinct parents of one child; ``None`` for all."""
        ...

    @property
    def fewest_parents(self) -> int:
        """The smallest number of distinct parents of one child."""
        ...

    def weights(self, population: Sequence[Genome], draw: np.random.Generator) -> Weights:
        """Each member's share in the child, (P,), not negative and of sum 1.

        Less fitness (a loss) is better; whoever has none or one that is not finite stands last, and gets no share
        while others have one. There may be fewer parents than promised then.
        """
        ...


def ranked(population: Sequence[Genome]) -> list[int]:
    """Positions from best to worst; among equals the earlier first; NaN and what was never measured last."""
    return sorted(range(len(population)), key=lambda position: (population[position].loss, position))


def eligible(population: Sequence[Genome]) -> list[int]:
    """Positions of those who may be parents, from best to worst: the measured, or all where nobody is."""
    order = ranked(population)
    return [position for position in order if math.isfinite(population[position].loss)] or order


def one_hot(size: int, position: int) -> Weights:
    """All of the share for one."""
    return shares(size, [position])


def shares(size: int, positions: Sequence[int]) -> Weights:
    """The share of each in proportion to how often it is named."""
    counted = np.zeros(size)
    for position in positions:
        counted[position] += 1.0
    return counted / len(positions)
