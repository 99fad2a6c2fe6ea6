"""Settings of the coordinator; everything about one run is in its ``RunConfig``."""

from __future__ import annotations

from dataclasses import dataclass, field

from chronos_common.engine import EngineLimits
from chronos_common.errors import ConfigurationError
from chronos_common.fleet import FleetConfig


@dataclass(frozen=True, kw_only=True)
class ActorConfig:
    """How an actor works.

    Attributes:
        keep_versions: published versions kept in memory for watchers.
        max_batch: commands decided together at most.
        reload_seconds: pause before the store is tried again after it failed.
        snapshot_entries: journal entries after which a run's state is written down, so that a restart folds no
            more than about as many; 0 is never.
        retain_versions: newest versions whose journal entries are kept; those before the older of two snapshots
            are dropped. 0 keeps the whole journal.

    Raises:
        ConfigurationError: a negative number, or retention without snapshots.
    """

    keep_versions: int = 4096
    max_batch: int = 256
    reload_seconds: float = 0.2
    snapshot_entries: int = 250
    retain_versions: int = 0

    def __post_init__(self) -> None:
        for name in ("snapshot_entries", "retain_versions"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if self.retain_versions and not self.snapshot_entries:
            raise ConfigurationError(
                f"retain_versions is {self.retain_versions} and snapshot_entries 0; a journal without snapshots "
                "cannot lose its beginning: set snapshot_entries, or retain_versions to 0"
            )


@dataclass(frozen=True, kw_only=True)
class CoordinatorConfig:
    """How a coordinator works.

    Attributes:
        fleet: heartbeats and time-outs of workers.
        actor: batching and memory of each run.
        limits: what is admitted.
        counts_seconds: what is counted of the runs (refusals, bytes) is written down so often, if it has changed.
    """

    fleet: FleetConfig = field(default_factory=FleetConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    limits: EngineLimits = field(default_factory=EngineLimits)
    counts_seconds: float = 1.0
