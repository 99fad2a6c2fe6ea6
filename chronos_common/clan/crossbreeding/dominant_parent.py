"""The child is the dominant parent's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chronos_common.clan.crossbreeding.base import Alleles
from chronos_common.clan.genome import Genome


@dataclass(frozen=True, kw_only=True)
class DominantParent:
    """Every allele of the parent with the largest share."""

    exactly: ClassVar[int | None] = None

    def cross(self, parents: Sequence[Genome], shares: Sequence[float], draw: np.random.Generator) -> Alleles:
        return dict(parents[0].alleles)
