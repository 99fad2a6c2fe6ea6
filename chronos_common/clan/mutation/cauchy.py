"""Steps with heavy tails: mostly small, sometimes very large."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chronos_common.clan.alleles import ContinuousAllele
from chronos_common.clan.mutation.base import Adaptive


@dataclass(frozen=True, kw_only=True)
class Cauchy(Adaptive):
    """Coordinate + unit·σ'·C, C of the standard Cauchy distribution."""

    def step(self, allele: ContinuousAllele, std: float, draw: np.random.Generator) -> float:
        return allele.unit * std * math.tan(math.pi * (float(draw.random()) - 0.5))
