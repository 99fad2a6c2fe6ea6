"""Which run a worker that asks for any of them is given, and who the workers of a store are."""

from __future__ import annotations

from collections.abc import Iterable

from chronos_common.fleet import Registration
from chronos_common.store import WorkerRecord
from chronos_coordinator.actor import RunActor


def by_need(active: Iterable[RunActor], worker_id: str, current: str | None) -> list[RunActor]:
    """Active runs, those with the fewest other workers first; of equals its own, then the one that will take longest.

    Longest first (Graham, *Bounds on multiprocessing timing anomalies*, 1969): what takes longest would otherwise
    begin last, and everybody else be done. What a run will take is the versions that are left times the predicted
    seconds of a whole inner loop; a run of which nothing is known yet counts as no longer than the others.

    Args:
        active: runs that can be worked on.
        worker_id: who asks.
        current: the run that it works on, if any.
    """

    def need(actor: RunActor) -> tuple[int, bool, float]:
        return len(set(actor.live) - {worker_id}), actor.run_id != current, -actor.predicted_seconds()

    return sorted(active, key=need)


def registration_of(record: WorkerRecord) -> Registration:
    """What the fleet needs of a worker that the store remembers."""
    return Registration(
        worker_id=record.worker_id, incarnation=record.incarnation, instance_id=record.instance_id
    )
