"""Translates what happens to clans into series."""

from __future__ import annotations

from collections import Counter

from chronos_common.clan.records import Ended, Record, Reported, Seated, Vacated
from chronos_common.clan.views import ClanView, MemberView
from chronos_common.metrics import CoordinatorMetrics
from chronos_coordinator.clan_actor import ClanHooks


def clan_hooks_for(metrics: CoordinatorMetrics) -> ClanHooks:
    """Hooks that report to these metrics."""

    def decided(clan: str, record: Record) -> None:
        if isinstance(record, Reported):
            metrics.clans.reported(clan)
        elif isinstance(record, Vacated):
            metrics.clans.departed(clan, record.reason)
        elif isinstance(record, Ended):
            metrics.clans.cloned(clan, len(record.decision.moves))
        elif isinstance(record, Seated) and record.source is not None:
            metrics.clans.cloned(clan, 1)

    def changed(clan: str, view: ClanView) -> None:
        living = [one for one in view.members if one.alive]
        counted = Counter(_state(one) for one in view.members)
        genes: dict[str, list[float]] = {}
        for one in living:
            for name, value in one.genome.values().items():
                if isinstance(value, int | float):
                    genes.setdefault(name, []).append(float(value))
        metrics.clans.changed(
            clan,
            number=view.round,
            step=view.step,
            members={state: counted[state] for state in ("living", "awaited", "empty")},
            fitness=[one.genome.loss for one in living if one.genome.fitness is not None],
            genes=genes,
        )

    return ClanHooks(decided=decided, changed=changed)


def _state(one: MemberView) -> str:
    if one.worker_id:
        return "living"
    return "awaited" if one.alive else "empty"
