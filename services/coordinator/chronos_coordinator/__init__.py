"""The coordinator service: versions outer parameters for workers, and keeps every decision durable.

``app`` puts it together, ``coordinator`` is its face without gRPC, ``actor`` serves one run, ``runs`` finds the
actors, ``journal`` and ``ownership`` are its ways to the store, ``*_service`` the thin gRPC handlers, ``embedded``
the whole in a thread of a script. It decides nothing: that is ``chronos_common.engine``.
"""

from chronos_coordinator.coordinator import Coordinator
from chronos_coordinator.embedded import EmbeddedCoordinator

__all__ = ["Coordinator", "EmbeddedCoordinator"]
