"""What a user chooses about a run's memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from chronos_common.errors import ConfigurationError
from chronos_common.runtime import require_kinds

SHORTEN: Final = "shorten"
REPORT: Final = "report"
MAX_ENTRIES: Final = 100_000
MAX_SKETCH: Final = 4096


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """A run's continuum memory.

    Args:
        max_entries: entries at most.
        max_bytes: bytes at most, of all entries; what is in it is also in every snapshot of the run.
        decay: what an entry's relevance is multiplied by with every later one, in (0, 1].
        neighbours: entries that a prediction is made of, unless it is asked for another number.
        sketch_dimensions: larger λ are compared by a random projection to so many dimensions.
        half_after: entries that are older than so many later ones are kept in half precision.
        forbidden_radius: how far around a λ that failed steps may not end, a Euclidean distance in stored
            coordinates.
        max_forbidden: failed places at most; the oldest goes.
        forbidden: what becomes of a step into such a place: ``"shorten"`` halves it until it ends outside,
            ``"report"`` lets it be and counts it.
        seed: of the projection.

    Raises:
        ConfigurationError: a value out of its range.
    """

    max_entries: int = 1000
    max_bytes: int = 16 << 20
    decay: float = 0.99
    neighbours: int = 10
    sketch_dimensions: int = 128
    half_after: int = 100
    forbidden_radius: float = 0.1
    max_forbidden: int = 100
    forbidden: str = SHORTEN
    seed: int = 0

    def __post_init__(self) -> None:
        require_kinds(self)
        self._require("max_entries", 1 <= self.max_entries <= MAX_ENTRIES, f"from 1 to {MAX_ENTRIES}")
        self._require("max_bytes", self.max_bytes >= 1, "1 or more")
        self._require("decay", 0.0 < self.decay <= 1.0, "above 0 and at most 1")
        self._require("neighbours", self.neighbours >= 1, "1 or more")
        self._require(
            "sketch_dimensions", 1 <= self.sketch_dimensions <= MAX_SKETCH, f"from 1 to {MAX_SKETCH}"
        )
        self._require("half_after", self.half_after >= 1, "1 or more")
        radius = self.forbidden_radius
        self._require("forbidden_radius", math.isfinite(radius) and radius > 0.0, "finite and above 0")
        self._require("max_forbidden", 1 <= self.max_forbidden <= MAX_ENTRIES, f"from 1 to {MAX_ENTRIES}")
        self._require("forbidden", self.forbidden in (SHORTEN, REPORT), f"{SHORTEN!r} or {REPORT!r}")
        self._require("seed", 0 <= self.seed < 1 << 63, "from 0 to 2^63 - 1")

    def _require(self, field: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise ConfigurationError(
                f"memory.{field} is {getattr(self, field)!r}; it must be {wanted}", field=f"memory.{field}"
            )
