"""Nothing leaves before it is durable, and a store that fails is replaced without a lost or doubled commit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from chronos_common.engine import Event, RunState
from chronos_common.errors import ChronosError, FencedError, StoreError, StoreWriteError, UnavailableError
from chronos_common.store import MemoryStore
from chronos_coordinator.coordinator import Coordinator
from chronos_coordinator.observer import Observer
from tests.support.polling import poll_async
from tests.support.serving import RUN, Clock, Disk, Member, parked, payload, run_config, settled, value_of

APPEND = frozenset({"append"})


async def test_neither_answer_nor_version_nor_event_nor_metric_is_ahead_of_the_disk(
    coordinator: Coordinator, member: Member, disk: Disk, observer: Observer
) -> None:
    reported: list[int] = []

    def committed(_run: str, state: RunState, _events: Sequence[Event]) -> None:
        reported.append(state.version)

    observer.hooks.committed = committed
    await member.checkout()
    reported.clear()
    seen: list[int] = []

    async def watch() -> None:
        async for record, _status in coordinator.watch(RUN, 0):
            assert record is not None
            seen.append(record.version)

    watcher = asyncio.create_task(watch())
    disk.hold = APPEND
    commit = asyncio.create_task(member.commit(0, 2.0))
    reader = asyncio.create_task(Member(coordinator, worker_id="").checkout(min_version=1, wait=60.0))
    write = await disk.next_write()
    await settled()
    assert not commit.done()
    assert not reader.done()
    assert seen == reported == []
    assert (await coordinator.run_view(RUN)).version == 0
    write.land()
    assert (await commit).version == 1
    assert value_of((await reader).snapshot) == -2.0
    await settled()
    assert seen == reported == [1]
    assert (await coordinator.run_view(RUN)).version == 1
    watcher.cancel()


async def test_a_refusal_waits_for_the_writes_that_it_was_decided_after(
    coordinator: Coordinator, member: Member, disk: Disk
) -> None:
    await member.checkout()
    other = await Member(coordinator, worker_id="w2").register()
    disk.hold = APPEND
    first = asyncio.create_task(member.commit(0))
    write = await disk.next_write()
    # Decided in the next batch, with a version that does not exist for anybody while this write is open.
    refused = asyncio.create_task(other.commit(5))
    await settled()
    assert not refused.done()
    write.land()
    await first
    with pytest.raises(ChronosError, match="never checked out"):
        await refused


async def test_64_commits_that_wait_take_two_appends(coordinator: Coordinator, disk: Disk) -> None:
    await coordinator.create_run(RUN, run_config(quorum=64, max_staleness=0), payload())
    members = [await Member(coordinator, worker_id=f"w{i:02}").register() for i in range(64)]
    await asyncio.gather(*(m.checkout() for m in members))
    before = disk.appends()
    disk.hold = APPEND
    commits = [asyncio.create_task(m.commit(0, 64.0)) for m in members]
    (await disk.next_write()).land()
    disk.hold = frozenset()
    answers = await asyncio.gather(*commits)
    assert disk.appends() - before <= 2
    assert answers[-1].version == 1
    assert value_of((await members[0].checkout()).snapshot) == -64.0


@pytest.mark.parametrize("landed", [False, True])
async def test_a_commit_whose_write_failed_is_applied_once_by_its_retry(
    coordinator: Coordinator, member: Member, disk: Disk, landed: bool
) -> None:
    await member.checkout()
    other = await Member(coordinator, worker_id="w2").register()
    await other.checkout()
    disk.hold = APPEND
    opened = disk.opened
    commits = [asyncio.create_task(m.commit(0, 1.0)) for m in (member, other)]
    write = await disk.next_write()
    disk.hold = frozenset()
    write.fail(landed=landed)
    for outcome in await asyncio.gather(*commits, return_exceptions=True):
        assert isinstance(outcome, StoreWriteError)
    answers = [await m.commit(0, 1.0) for m in (member, other)]
    assert [answer.duplicate for answer in answers] == [landed, landed]
    assert disk.opened == opened + 1
    assert disk.kinds().count("accepted") == 2
    view = await coordinator.run_view(RUN)
    assert view.accepted == 2
    report = await coordinator.verify_run(RUN)
    assert report.clean, report.problem


async def test_nothing_is_visible_of_a_batch_that_failed(
    coordinator: Coordinator, member: Member, disk: Disk
) -> None:
    await member.checkout()
    before = await coordinator.run_view(RUN)
    disk.full = True
    with pytest.raises(StoreWriteError, match="not confirmed"):
        await member.commit(0)
    disk.full = False
    view = await coordinator.run_view(RUN)
    assert (view.digest, view.refused) == (before.digest, 0)  # nobody said no
    answer = await Member(coordinator, worker_id="").checkout()
    assert (answer.version, value_of(answer.snapshot)) == (0, 0.0)
    assert (await member.commit(0)).version == 1


async def test_two_runs_share_one_reopening_and_the_idle_one_loses_nothing(
    coordinator: Coordinator, member: Member, disk: Disk
) -> None:
    await coordinator.create_run("run-2", run_config(), payload())
    other = await Member(coordinator, worker_id="w2", run_id="run-2").register()
    idle = await coordinator.create_run("run-3", run_config(), payload())
    await asyncio.gather(member.checkout(), other.checkout())
    opened = disk.opened
    disk.hold = APPEND
    commits = [asyncio.create_task(m.commit(0)) for m in (member, other)]
    writes = [await disk.next_write(), await disk.next_write()]
    disk.hold = frozenset()
    for write in writes:
        write.fail(landed=False)
    assert all(isinstance(e, StoreWriteError) for e in await asyncio.gather(*commits, return_exceptions=True))
    assert [(await m.commit(0)).version for m in (member, other)] == [1, 1]
    assert disk.opened == opened + 1
    assert (await coordinator.run_view("run-3")).digest == idle.digest


async def test_a_store_that_does_not_open_at_once_is_tried_again(
    coordinator: Coordinator, member: Member, disk: Disk
) -> None:
    await member.checkout()
    disk.full, disk.unopenable = True, 3
    with pytest.raises(StoreWriteError):
        await member.commit(0)
    disk.full = False

    async def committed() -> bool:
        try:
            return (await member.commit(0)).version == 1
        except (StoreError, UnavailableError):
            return False

    await poll_async(committed, "the commit after the disk came back")
    assert disk.unopenable == 0
    assert disk.kinds().count("accepted") == 1


async def test_while_the_store_is_away_callers_are_told_instead_of_kept(
    coordinator: Coordinator, member: Member, disk: Disk, clock: Clock
) -> None:
    await member.checkout()
    reader, hasty = [
        asyncio.create_task(Member(coordinator, worker_id="").checkout(min_version=2, wait=wait))
        for wait in (3600.0, 60.0)
    ]
    await parked(coordinator, 2)
    disk.full, disk.unopenable = True, 1_000_000
    with pytest.raises(StoreWriteError):
        await member.commit(0)
    async with asyncio.timeout(5.0):
        for _ in range(2):
            with pytest.raises((StoreError, UnavailableError)):
                await member.commit(0)
        clock.now += 61.0
        with pytest.raises(StoreError):
            await hasty
    disk.full, disk.unopenable = False, 0

    async def committed() -> bool:
        try:
            return (await member.commit(0)).version == 1
        except (StoreError, UnavailableError):
            return False

    await poll_async(committed, "the commit after the disk came back")
    await member.commit(1)
    assert (await reader).version == 2  # it was parked all the time


@pytest.mark.parametrize("operation", ["register", "create", "report"])
async def test_a_failed_write_outside_of_any_run_does_not_break_the_store_for_good(
    coordinator: Coordinator, member: Member, disk: Disk, operation: str
) -> None:
    async def attempt() -> object:
        if operation == "register":
            return await coordinator.register("w9", "i", "cpu")
        if operation == "create":
            return await coordinator.create_run("run-9", run_config(), payload())
        await coordinator.report_metrics(RUN, [])
        return None

    disk.full = True
    with pytest.raises(StoreWriteError):
        await attempt()
    disk.full = False
    await attempt()
    await member.checkout()
    assert (await member.commit(0)).version == 1


@pytest.mark.parametrize("landed", [False, True])
async def test_a_creation_whose_write_failed_is_repeated_safely_and_wakes_who_waits_for_a_run(
    coordinator: Coordinator, disk: Disk, landed: bool
) -> None:
    worker = await Member(coordinator).register()
    waiting = asyncio.create_task(worker.checkout(run_id="", wait=60.0))
    disk.hold = frozenset({"create_run"})
    creation = asyncio.create_task(coordinator.create_run(RUN, run_config(), payload()))
    write = await disk.next_write()
    disk.hold = frozenset()
    write.fail(landed=landed)
    with pytest.raises(StoreWriteError):
        await creation
    assert not waiting.done()
    await coordinator.create_run(RUN, run_config(), payload())
    async with asyncio.timeout(5.0):
        assert (await waiting).run_id == RUN


async def test_a_fenced_coordinator_ends_and_lets_nobody_hang(
    coordinator: Coordinator, member: Member, disk: Disk
) -> None:
    await member.checkout()
    reader = asyncio.create_task(Member(coordinator, worker_id="").checkout(min_version=9, wait=3600.0))
    await settled()
    disk.database.epoch += 1  # another coordinator took over
    with pytest.raises(StoreWriteError):
        await member.commit(0)
    async with asyncio.timeout(5.0):
        await coordinator.fenced.wait()
        with pytest.raises(FencedError):
            await reader
        with pytest.raises(FencedError):
            await member.commit(0)
    assert disk.kinds() == ["created", "joined"]


async def test_losing_leadership_while_the_store_is_reopened_is_being_fenced(
    disk: Disk, clock: Clock
) -> None:
    rivals: list[MemoryStore] = []

    def open_after_a_rival() -> MemoryStore:
        if disk.opened:
            rivals.append(MemoryStore(disk.database))
            rivals[-1].acquire("a rival")
        return disk.open()

    coordinator = Coordinator(open_after_a_rival, clock=clock, wall_clock=clock)
    await coordinator.start()
    disk.full = True
    with pytest.raises(FencedError, match="a rival"):
        await coordinator.register("w1", "i", "cpu")
    assert coordinator.fenced.is_set()
    await coordinator.stop()


async def test_a_client_that_hangs_up_during_the_reopening_does_not_fence_its_own_coordinator(
    coordinator: Coordinator, member: Member, disk: Disk
) -> None:
    disk.hold = frozenset({"put_worker"})
    registering = asyncio.create_task(coordinator.register("w9", "i", "cpu"))
    write = await disk.next_write()
    disk.hold = frozenset()
    disk.closing.clear()
    disk.may_close.clear()
    write.fail(landed=False)
    assert await asyncio.to_thread(disk.closing.wait, 5.0)
    registering.cancel()
    await asyncio.gather(registering, return_exceptions=True)
    again = asyncio.create_task(coordinator.register("w9", "i", "cpu"))
    for _ in range(5):
        await asyncio.to_thread(time.sleep, 0)  # whoever would open the store too early has had the time to
        await settled()
    disk.may_close.set()
    await again
    await member.checkout()
    assert (await member.commit(0)).version == 1
    assert not coordinator.fenced.is_set()
