"""Elastic peer groups: processes that exchange tensors directly, and go on without those that die.

* ``group.py``: :class:`PeerGroup`, what a training loop uses.  ``config.py``: its settings and time limits.
* ``links.py``: the line to whoever keeps the group; ``store_link.py`` (a store of ``torch.distributed``) and
  ``coordinator_link.py`` (a coordinator) implement it.  ``watching.py``: the thread that listens on it.
* ``collectives.py``: the process group of one epoch.  ``catching_up.py``: what its members agree on first.
* ``buckets.py``, ``reductions.py``: how means are taken.  ``state.py``: what a joiner is given.

What decides on epochs is pure and elsewhere: ``chronos_common.fleet.groups``.
"""

from chronos_worker.peers.config import PeerConfig
from chronos_worker.peers.coordinator_link import CoordinatorLink
from chronos_worker.peers.group import PeerGroup
from chronos_worker.peers.state import ModuleState, PeerState
from chronos_worker.peers.store_link import StoreLink

__all__ = ["CoordinatorLink", "ModuleState", "PeerConfig", "PeerGroup", "PeerState", "StoreLink"]
