"""Settings of rounds and leases, refused at construction when they cannot work."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chronos_common.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class RoundConfig:
    """Rules of one run's rounds.

    Attributes:
        max_staleness: a commit whose base is further behind the current version is refused (versions).
        max_in_flight: most distinct base versions being worked on at once; one is a barrier.
        quorum: distinct workers that must contribute to a version; ``None`` is half of the live ones,
            rounded up.
        decay: base of the exponential staleness weight ``decay ** staleness``; in (0, 1].
        max_local_work: most work that one worker's parameter deltas may add to one version, in units of
            one assigned inner loop.
    """

    max_staleness: int = 2
    max_in_flight: int = 3
    quorum: int | None = None
    decay: float = 0.5
    max_local_work: float = 8.0

    def __post_init__(self) -> None:
        if self.max_staleness < 0:
            raise ConfigurationError(f"max_staleness is {self.max_staleness}; it must be 0 or more")
        if self.max_in_flight < self.max_staleness + 1:
            raise ConfigurationError(
                f"max_in_flight is {self.max_in_flight}, below max_staleness + 1 = {self.max_staleness + 1}: "
                "checkouts would wait for versions that the staleness bound allows; raise max_in_flight"
            )
        if self.quorum is not None and self.quorum < 1:
            raise ConfigurationError(f"quorum is {self.quorum}; it must be 1 or more, or left out")
        if not 0.0 < self.decay <= 1.0:
            raise ConfigurationError(f"decay is {self.decay}; it must be above 0 and at most 1")
        if not (math.isfinite(self.max_local_work) and self.max_local_work >= 1.0):
            raise ConfigurationError(
                f"max_local_work is {self.max_local_work}; it must be finite and at least 1"
            )


@dataclass(frozen=True, kw_only=True)
class LeaseConfig:
    """How long a worker may hold a version.

    A lease lasts ``(max_staleness + 1) × median round time`` over the last ``window`` rounds, but not less
    than the median worker needs for a whole inner loop and a quarter more; kept between
    ``min_seconds`` and ``max_seconds``; ``initial_seconds`` until a round has been timed.
    """

    initial_seconds: float = 30.0
    min_seconds: float = 1.0
    max_seconds: float = 600.0
    window: int = 16

    def __post_init__(self) -> None:
        for name in ("initial_seconds", "min_seconds", "max_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ConfigurationError(f"lease {name} is {value}; it must be finite and above 0")
        if not self.min_seconds <= self.initial_seconds <= self.max_seconds:
            raise ConfigurationError(
                "lease times must be ordered min_seconds <= initial_seconds <= max_seconds, "
                f"but are {self.min_seconds}, {self.initial_seconds}, {self.max_seconds}"
            )
        if self.window < 1:
            raise ConfigurationError(f"lease window is {self.window}; it must be 1 or more rounds")
