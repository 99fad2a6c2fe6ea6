"""Who is told what the coordinator did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chronos_coordinator.clan_actor import ClanHooks
from chronos_coordinator.data_actor import DataHooks
from chronos_coordinator.hooks import Hooks


@dataclass(kw_only=True)
class Observer:
    """Where the coordinator reports what happened; every default does nothing."""

    hooks: Hooks = field(default_factory=Hooks)
    data: DataHooks = field(default_factory=DataHooks)
    clans: ClanHooks = field(default_factory=ClanHooks)
    wanted: Callable[[int], None] = lambda _workers: None
    refused: Callable[[str, str], None] = lambda _run, _reason: None
    duplicate: Callable[[str], None] = lambda _run: None
    traffic: Callable[[str, int, int, int], None] = lambda _run, _received, _sent, _dense: None
    fleet: Callable[[int], None] = lambda _live: None
    lost: Callable[[], None] = lambda: None
