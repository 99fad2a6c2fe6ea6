"""Coordinators that snapshot every few entries, and workers that fill their journals: two entries a version."""

from __future__ import annotations

import dataclasses
from typing import Any

from chronos_common.store import StreamKey
from chronos_coordinator.config import ActorConfig, CoordinatorConfig
from chronos_coordinator.coordinator import Coordinator
from chronos_coordinator.observer import Observer
from tests.support.polling import poll_async
from tests.support.serving import CONFIG, RUN, Clock, Disk, Member

EVERY = 6
STREAM = StreamKey.of_run(RUN)


def config(**actor: Any) -> CoordinatorConfig:
    fields = {"keep_versions": 3, "reload_seconds": 0.005, "snapshot_entries": EVERY, **actor}
    return dataclasses.replace(CONFIG, actor=ActorConfig(**fields))


def serving(disk: Disk, clock: Clock, observer: Observer | None = None, **actor: Any) -> Coordinator:
    return Coordinator(
        disk.open, config=config(**actor), observer=observer, clock=clock, wall_clock=lambda: clock.now / 7
    )


def seqs(disk: Disk) -> list[int]:
    return sorted(disk.database.snapshots.get(STREAM, {}))


async def work(member: Member, versions: int) -> None:
    """So many versions of one commit each: two entries."""
    for _ in range(versions):
        base = (await member.checkout()).version
        member.coordinator._clock.now += 2.0 + base % 3  # type: ignore[attr-defined]
        await member.commit(base, 1.0, metrics={"outer_loss": float(base)} if base % 2 else {})


async def kept(disk: Disk, count: int, least: int = 0) -> list[int]:
    await poll_async(
        lambda: len(seqs(disk)) >= count and seqs(disk)[-1] >= least,
        f"{count} snapshots",
    )
    return seqs(disk)


async def work_and_keep(member: Member, disk: Disk, versions: int) -> None:
    """Waits for each snapshot that falls due, and for what follows it: none is offered while another is written."""
    for _ in range(versions):
        await poll_async(lambda: not writing(member.coordinator), "the last snapshot's end")
        await work(member, 1)
        newest = max(seqs(disk), default=0)
        if len(disk.journal()) + disk.database.trimmed.get(STREAM, 0) - newest >= EVERY:
            await kept(disk, 1, newest + EVERY)


def writing(coordinator: Coordinator) -> bool:
    actor = coordinator._runs.loaded(RUN)
    assert actor is not None
    task = actor._snapshots._task
    return task is not None and not task.done()


async def seen(coordinator: Coordinator) -> list[Any]:
    """Every version as a watcher sees it."""
    newest = (await coordinator.run_view(RUN)).version
    found = []
    async for record, _ in coordinator.watch(RUN, 0):
        assert record is not None
        found.append(record)
        if record.version == newest:
            return found
    raise AssertionError("the run has ended")
