"""Each gene from one parent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chronos_common.clan.crossbreeding.base import Alleles
from chronos_common.clan.genome import Genome


@dataclass(frozen=True, kw_only=True)
class Stochastic:
    """Each gene, with its metadata, from a parent drawn by the shares."""

    exactly: ClassVar[int | None] = None

    def cross(self, parents: Sequence[Genome], shares: Sequence[float], draw: np.random.Generator) -> Alleles:
        found: Alleles = {}
        for name, allele in parents[0].alleles.items():
            drawn = parents[int(draw.choice(len(parents), p=np.asarray(shares)))].alleles[name]
            found[name] = drawn if allele.can_crossbreed else allele
        return found
