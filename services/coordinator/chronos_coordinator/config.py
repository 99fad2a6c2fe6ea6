"""Settings of the coordinator; everything about one run is in its ``RunConfig``."""

from __future__ import annotations

from dataclasses import dataclass, field

from chronos_common.engine import EngineLimits
from chronos_common.fleet import FleetConfig
from chronos_coordinator.actor import ActorConfig


@dataclass(frozen=True, kw_only=True)
class CoordinatorConfig:
    """How a coordinator works.

    Attributes:
        fleet: heartbeats and time-outs of workers.
        actor: batching and memory of each run.
        limits: what is admitted.
    """

    fleet: FleetConfig = field(default_factory=FleetConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    limits: EngineLimits = field(default_factory=EngineLimits)
