"""Normal steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chronos_common.clan.alleles import ContinuousAllele
from chronos_common.clan.mutation.base import Adaptive


@dataclass(frozen=True, kw_only=True)
class Gaussian(Adaptive):
    """Coordinate + unit·σ'·N(0, 1): logarithmic genes are multiplied by exp(σ'N)."""

    def step(self, allele: ContinuousAllele, std: float, draw: np.random.Generator) -> float:
        return allele.unit * std * float(draw.normal())
