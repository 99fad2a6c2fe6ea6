"""Translates what happens to data plans into series."""

from __future__ import annotations

from chronos_common.data.events import Dealt
from chronos_common.data.views import DataView
from chronos_common.metrics import CoordinatorMetrics
from chronos_coordinator.data_actor import DataHooks


def data_hooks_for(metrics: CoordinatorMetrics) -> DataHooks:
    """Hooks that report to these metrics."""

    def dealt(plan: str, event: Dealt, seconds: float) -> None:
        metrics.data.dealt(
            plan,
            shares=len(event.workers),
            samples=len(event.indices),
            part=event.part,
            seconds=seconds,
        )

    def changed(plan: str, view: DataView) -> None:
        metrics.data.changed(
            plan,
            epoch=view.epoch,
            finished=view.finished,
            imbalance=view.imbalance,
            speeds={one.worker_id: (one.alpha_seconds, one.beta_seconds) for one in view.members},
        )

    return DataHooks(dealt=dealt, changed=changed)
