"""What a run's actor tells those who count and show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chronos_common.engine import Event, PaceView, RunState


@dataclass(kw_only=True)
class Hooks:
    """What the actor reports, always after it is durable."""

    serving: Callable[[str, RunState, float | None], None] = lambda _run, _state, _published_at: None
    """A run was created or read back; the time of its newest version in unix seconds, if it has one."""
    committed: Callable[[str, RunState, Sequence[Event]], None] = lambda _run, _state, _events: None
    waiting: Callable[[str, int], None] = lambda _run, _count: None
    in_flight: Callable[[str, int], None] = lambda _run, _count: None
    lease: Callable[[str, float], None] = lambda _run, _seconds: None
    snapshot: Callable[[str, bool], None] = lambda _run, _kept: None
    paced: Callable[[str, str, PaceView], None] = lambda _run, _worker, _pace: None
    """A worker's commit: how long its work took, and how long it was predicted to take."""
