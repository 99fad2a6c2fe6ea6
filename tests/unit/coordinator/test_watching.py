"""Watchers: every version once and in order, from any point, across restarts."""

from __future__ import annotations

import asyncio

import pytest

from chronos_common.engine import VersionRecord
from chronos_common.errors import RunNotFoundError, UnavailableError
from chronos_coordinator.coordinator import Coordinator
from tests.support.serving import CONFIG, RUN, Clock, Disk, Member, payload, run_config, settled


async def publish(member: Member, count: int) -> None:
    for _ in range(count):
        base = (await member.checkout()).version
        await member.commit(base, 1.0, metrics={"outer_loss": float(base)})


async def watched(coordinator: Coordinator, after: int) -> tuple[list[int], str]:
    """Everything until the end of the run, and its status then."""
    async with asyncio.timeout(5.0):
        found = [(record, status) async for record, status in coordinator.watch(RUN, after)]
    assert found[-1][0] is None
    return [record.version for record, _ in found if record is not None], found[-1][1]


@pytest.mark.parametrize("after", [0, 1, 5, 6, 9, 10, 50])
async def test_history_older_than_memory_comes_from_the_journal(
    coordinator: Coordinator, disk: Disk, after: int
) -> None:
    await coordinator.create_run(RUN, run_config(max_versions=10), payload())
    await publish(await Member(coordinator).register(), 10)
    assert await watched(coordinator, after) == (list(range(after + 1, 11)), "finished")


async def test_a_restart_changes_nothing_that_was_seen(
    coordinator: Coordinator, disk: Disk, clock: Clock
) -> None:
    await coordinator.create_run(RUN, run_config(max_versions=9), payload())
    await publish(await Member(coordinator).register(), 8)
    before = await until(coordinator, 8)
    await coordinator.stop()
    second = Coordinator(disk.open, config=CONFIG, clock=clock, wall_clock=clock)
    await second.start()
    after = await until(second, 8)
    assert after == before
    assert [record.metrics for record in after] == [{"outer_loss": float(v)} for v in range(8)]
    assert (await second.run_view(RUN)).metrics == {"outer_loss": 7.0}
    await second.stop()


async def until(coordinator: Coordinator, version: int) -> list[VersionRecord]:
    """The versions up to one."""
    found: list[VersionRecord] = []
    async for record, _ in coordinator.watch(RUN, 0):
        assert record is not None
        found.append(record)
        if record.version == version:
            break
    return found


async def test_a_slow_watcher_misses_nothing_that_memory_has_dropped(
    coordinator: Coordinator, member: Member
) -> None:
    stream = coordinator.watch(RUN, 0)
    await publish(member, 1)
    first, _ = await anext(stream)
    await publish(member, 10)
    await coordinator.stop_run(RUN, "enough")
    rest = [record.version async for record, _ in stream if record is not None]
    assert first is not None
    assert [first.version, *rest] == list(range(1, 12))


async def test_drain_and_stop_end_watchers_as_unavailable(coordinator: Coordinator, member: Member) -> None:
    await publish(member, 2)
    seen: list[int] = []

    async def watch() -> None:
        async for record, _status in coordinator.watch(RUN, 0):
            assert record is not None
            seen.append(record.version)

    watcher = asyncio.create_task(watch())
    await settled()
    coordinator.drain()
    with pytest.raises(UnavailableError, match="watch again from the last version"):
        await watcher
    assert seen == [1, 2]


async def test_watching_a_run_that_does_not_exist(coordinator: Coordinator) -> None:
    with pytest.raises(RunNotFoundError):
        await anext(coordinator.watch("no-such-run", 0))
