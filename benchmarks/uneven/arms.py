"""The arms: how rounds close and what messages carry. Problems, workers, pace and seeds are the same in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.uneven.pace import WORKERS
from chronos_common.engine import CompressionConfig
from chronos_common.versions import LeaseConfig, RoundConfig

BARRIER: Final = "barrier"
IDENTITY: Final = "identity"
CHRONOS: Final = "chronos"
PUBLISHED: Final = "published"

NO_DEADLINE: Final = LeaseConfig(initial_seconds=60.0, min_seconds=60.0)
SHORT: Final = LeaseConfig(min_seconds=0.03)
"""An update lasts a few hundredths of a second here: the default minimum of one second would bound nothing."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to serve a run.

    Attributes:
        means: what it is, for the report.
        rounds, leases: when versions are made, and how long a worker has.
        compression: of both directions; None is the default for the problem.
    """

    means: str
    rounds: RoundConfig = field(default_factory=RoundConfig)
    leases: LeaseConfig = field(default_factory=LeaseConfig)
    compression: CompressionConfig | None = field(default_factory=CompressionConfig)


ARMS: Final[Mapping[str, Arm]] = {
    BARRIER: Arm(
        means="every version waits for all workers; dense float32",
        rounds=RoundConfig(max_staleness=0, max_in_flight=1, quorum=WORKERS, once_per_version=True),
        leases=NO_DEADLINE,
    ),
    IDENTITY: Arm(means="Chronos with its defaults; dense float32"),
    CHRONOS: Arm(
        means="Chronos with its default compression",
        compression=None,
    ),
    PUBLISHED: Arm(
        means="a version per commit, 3 in flight, refused beyond 2 behind; dense float32",
        rounds=RoundConfig(max_staleness=2, max_in_flight=3, quorum=1, immediate_publish=True),
        leases=NO_DEADLINE,
    ),
}
