"""Who is told what the coordinator did, and what it counts outside of the runs' state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from chronos_coordinator.actor import Hooks
from chronos_coordinator.view import Traffic


@dataclass(kw_only=True)
class Observer:
    """Where the coordinator reports what happened; every default does nothing."""

    hooks: Hooks = field(default_factory=Hooks)
    wanted: Callable[[int], None] = lambda _workers: None
    refused: Callable[[str, str], None] = lambda _run, _reason: None
    duplicate: Callable[[str], None] = lambda _run: None
    traffic: Callable[[str, int, int, int], None] = lambda _run, _received, _sent, _dense: None
    fleet: Callable[[int], None] = lambda _live: None
    lost: Callable[[], None] = lambda: None


@dataclass(kw_only=True)
class Tally:
    """Counts of one run since the coordinator's start; not part of its state."""

    refused: Counter[str] = field(default_factory=Counter)
    duplicate: int = 0
    traffic: Traffic = field(default_factory=Traffic)
