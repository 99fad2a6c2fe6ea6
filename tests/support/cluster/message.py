"""A message of the simulated cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.cluster.process import Process


@dataclass(frozen=True)
class Message:
    """A request (``handle`` runs at the coordinator) or an answer (``handle`` runs at the process)."""

    to_coordinator: bool
    process: Process
    handle: Callable[[], None]
    seq: int = 0
