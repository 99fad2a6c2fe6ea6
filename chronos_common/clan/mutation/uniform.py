"""Steps of bounded length."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chronos_common.clan.alleles import ContinuousAllele
from chronos_common.clan.mutation.base import Adaptive


@dataclass(frozen=True, kw_only=True)
class Uniform(Adaptive):
    """Coordinate + unit·σ'·U(−√3, √3), whose standard deviation is that of the normal step."""

    def step(self, allele: ContinuousAllele, std: float, draw: np.random.Generator) -> float:
        return allele.unit * std * math.sqrt(3.0) * (2.0 * float(draw.random()) - 1.0)
