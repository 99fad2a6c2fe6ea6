"""Counts that belong to a run's history, folded along with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from chronos_common.engine.events import CommitRecord


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Counts that belong to the run's history; derived from the journal, so a restart keeps them."""

    accepted: int = 0
    skipped: int = 0
    staleness: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    timing: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: MappingProxyType({}))


def count(totals: Totals, event: CommitRecord) -> Totals:
    """With one more accepted commit."""
    before = totals.timing.get(event.worker_id, {})
    seconds = {name: before.get(name, 0.0) + event.timing.get(name, 0.0) for name in {*before, *event.timing}}
    return Totals(
        accepted=totals.accepted + 1,
        skipped=totals.skipped + (event.payload is None),
        staleness=MappingProxyType(
            {**totals.staleness, event.staleness: totals.staleness.get(event.staleness, 0) + 1}
        ),
        timing=MappingProxyType({**totals.timing, event.worker_id: seconds}),
    )
