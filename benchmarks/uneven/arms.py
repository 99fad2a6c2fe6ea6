"""The arms: how rounds close and what messages carry. Problems, workers, pace and seeds are the same in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.uneven.pace import SLOWDOWN, WORKERS
from chronos_common.engine import CompressionConfig
from chronos_common.versions import LeaseConfig, RoundConfig

BARRIER: Final = "barrier"
IDENTITY: Final = "identity"
CHRONOS: Final = "chronos"
PUBLISHED: Final = "published"

NO_DEADLINE: Final = LeaseConfig(initial_seconds=60.0, min_seconds=60.0)

STALENESS: Final = 2 * int(SLOWDOWN)
"""Versions that pass while the slow worker works: at most two in one inner loop of the others."""

UNEVEN: Final = RoundConfig(
    max_staleness=STALENESS,
    max_in_flight=STALENESS + 1,
    staleness_rule="polynomial",
    staleness_rate=0.25,
)
"""A bound that leaves the slow worker time for its work, and a rule that does not halve that with every version."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to serve a run.

    Attributes:
        rounds, leases: when versions are made, and how long a worker has.
        compression: of both directions; None is the default for the problem.
        versions_factor: how many times the barrier's versions the run may make; it takes less time for them.
    """

    rounds: RoundConfig = UNEVEN
    leases: LeaseConfig = field(default_factory=LeaseConfig)
    compression: CompressionConfig | None = field(default_factory=CompressionConfig)
    versions_factor: float = 3.5


ARMS: Final[Mapping[str, Arm]] = {
    BARRIER: Arm(
        rounds=RoundConfig(max_staleness=0, max_in_flight=1, quorum=WORKERS, once_per_version=True),
        leases=NO_DEADLINE,
        versions_factor=1.0,
    ),
    IDENTITY: Arm(),
    CHRONOS: Arm(compression=None),
    PUBLISHED: Arm(
        rounds=RoundConfig(max_staleness=2, max_in_flight=3, quorum=1, immediate_publish=True),
        leases=NO_DEADLINE,
        versions_factor=4.0,
    ),
}
