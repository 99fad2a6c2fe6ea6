"""The fleet: which worker processes exist, which incarnation of each is current, who is alive, and how fast each is.

Pure: the clock is an argument, durability the caller's. What belongs to one run (leases, shards) is in
``versions``; what belongs to a worker whatever it works on goes here.
"""

from chronos_common.fleet.groups import Epoch, Forming, Group, GroupConfig, GroupView, Peer, lost
from chronos_common.fleet.membership import Fleet, FleetConfig, Member, Registration, require_name
from chronos_common.fleet.speed import SpeedConfig, SpeedEstimates, SpeedTable

__all__ = [
    "Epoch",
    "Fleet",
    "FleetConfig",
    "Forming",
    "Group",
    "GroupConfig",
    "GroupView",
    "Member",
    "Peer",
    "Registration",
    "SpeedConfig",
    "SpeedEstimates",
    "SpeedTable",
    "lost",
    "require_name",
]
