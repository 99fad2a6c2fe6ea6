"""The fleet: which worker processes exist, which incarnation of each is current, who is alive, and how fast each is.

Pure: the clock is an argument, durability the caller's. What belongs to one run (leases, shards) is in
``versions``; what belongs to a worker whatever it works on goes here.
"""

from chronos_common.fleet.membership import Fleet, FleetConfig, Member, Registration, require_name
from chronos_common.fleet.speed import SpeedConfig, SpeedEstimates, SpeedTable

__all__ = [
    "Fleet",
    "FleetConfig",
    "Member",
    "Registration",
    "SpeedConfig",
    "SpeedEstimates",
    "SpeedTable",
    "require_name",
]
