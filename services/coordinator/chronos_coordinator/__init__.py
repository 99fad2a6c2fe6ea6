"""The coordinator service: versions outer parameters for workers, and keeps every decision durable.

``app`` puts it together, ``coordinator`` is its face without gRPC, ``actor`` serves one run, ``runs`` finds the
actors, ``snapshots`` writes states down, ``journal`` and ``ownership`` are ways to the store, ``*_service`` the thin
gRPC handlers, ``embedded`` the whole in a thread of a script, ``command`` the process. It decides nothing: that is
``chronos_common.engine``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chronos_coordinator.coordinator import Coordinator
    from chronos_coordinator.embedded import EmbeddedCoordinator

__all__ = ["Coordinator", "EmbeddedCoordinator"]


def __getattr__(name: str) -> Any:
    """Imported when asked for, so that ``__main__`` comes first."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = {"Coordinator": "coordinator", "EmbeddedCoordinator": "embedded"}[name]
    return getattr(import_module(f"{__name__}.{module}"), name)
