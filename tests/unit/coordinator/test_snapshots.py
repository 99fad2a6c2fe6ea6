"""Snapshots beside the service: on time, one at a time, two kept, and never to the run's harm."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from chronos_common.errors import StoreError, UnavailableError
from chronos_common.store import recover
from chronos_common.versions import LeaseConfig
from chronos_coordinator.coordinator import Coordinator
from chronos_coordinator.observer import Observer
from tests.support.polling import poll_async
from tests.support.serving import RUN, Clock, Disk, Member, payload, run_config, settled
from tests.support.snapshotting import EVERY, STREAM, kept, seen, seqs, serving, work, work_and_keep, writing

SAVE = frozenset({"save_snapshot"})
LEASES = LeaseConfig(initial_seconds=50.0, min_seconds=0.1, max_seconds=50.0)


@pytest.fixture
def told(observer: Observer) -> list[bool]:
    """Whether each snapshot was kept."""
    found: list[bool] = []
    observer.hooks.snapshot = lambda _run, kept: found.append(kept)
    return found


@pytest.fixture
async def coordinator(
    disk: Disk, clock: Clock, observer: Observer, told: list[bool]
) -> AsyncIterator[Coordinator]:
    served = serving(disk, clock, observer)
    await served.start()
    yield served
    disk.hold, disk.full = frozenset(), False
    await served.stop()


async def test_a_snapshot_is_kept_when_so_many_entries_have_come_and_not_before(
    coordinator: Coordinator, member: Member, disk: Disk, told: list[bool]
) -> None:
    await work(member, 1)  # created, joined, accepted, published
    await settled()
    assert (len(disk.journal()), seqs(disk), told) == (4, [], [])
    await work(member, 1)
    assert await kept(disk, 1) == [EVERY]
    await poll_async(lambda: told == [True], "the observer")
    await member.checkout()
    await coordinator.run_view(RUN)
    await settled()
    assert disk.done.count("save_snapshot") == 1


async def test_two_snapshots_are_kept(coordinator: Coordinator, member: Member, disk: Disk) -> None:
    await work_and_keep(member, disk, 14)
    assert seqs(disk) == [24, 30]
    assert (await coordinator.verify_run(RUN)).snapshots == 2


async def test_answers_do_not_wait_for_a_snapshot_and_only_one_is_written_at_a_time(
    coordinator: Coordinator, member: Member, disk: Disk
) -> None:
    disk.hold = SAVE
    await work(member, 2)
    first = await disk.next_write()
    await work(member, 8)
    await settled()
    assert (disk.writes.qsize(), len(disk.journal())) == (0, 22)
    first.land()
    await kept(disk, 1)
    await poll_async(lambda: not writing(coordinator), "the first snapshot")
    await work(member, 1)
    second = await disk.next_write()
    second.land()
    assert await kept(disk, 2) == [EVERY, 24]


@pytest.mark.parametrize("landed", [False, True])
async def test_a_snapshot_that_fails_is_counted_and_harms_nobody(
    coordinator: Coordinator, member: Member, disk: Disk, told: list[bool], landed: bool
) -> None:
    disk.hold = SAVE
    await work(member, 2)
    write = await disk.next_write()
    disk.hold = frozenset()
    opened = disk.opened
    write.fail(landed=landed)
    await poll_async(lambda: told == [False], "the observer")
    assert disk.opened == opened + 1  # as after any write of which nobody knows
    await work(member, 4)
    await poll_async(lambda: told == [False, True], "the next snapshot")
    assert seqs(disk) == [12]  # one that nobody vouched for is not kept beside it
    view, report = await coordinator.run_view(RUN), await coordinator.verify_run(RUN)
    assert (view.version, view.accepted) == (6, 6)
    assert (report.clean, report.snapshots) == (True, 1)


async def test_a_disk_that_is_full_at_the_snapshot_costs_no_commit(
    coordinator: Coordinator, member: Member, disk: Disk, told: list[bool]
) -> None:
    await work(member, 1)
    disk.hold = SAVE
    await work(member, 1)
    write = await disk.next_write()
    disk.hold, disk.full = frozenset(), True
    write.fail(landed=False)
    with pytest.raises((StoreError, UnavailableError)):
        await member.commit(2, 1.0)
    disk.full = False

    async def committed() -> bool:
        try:
            return (await member.commit(2, 1.0)).version == 3
        except (StoreError, UnavailableError):
            return False

    await poll_async(committed, "the commit after the disk came back")
    await work_and_keep(member, disk, 3)
    assert disk.kinds().count("accepted") == 6
    assert (await coordinator.verify_run(RUN)).clean


async def test_a_defect_in_a_snapshot_is_counted_and_harms_nobody(
    coordinator: Coordinator, member: Member, disk: Disk, told: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr("chronos_coordinator.snapshots.to_snapshot", fails)
    await work(member, 4)
    await poll_async(lambda: told == [False], "the observer")
    assert (await coordinator.run_view(RUN)).version == 4


async def test_a_coordinator_that_dies_while_a_snapshot_is_written_loses_nothing(
    disk: Disk, clock: Clock
) -> None:
    first = serving(disk, clock)
    await first.start()
    await first.create_run(RUN, run_config(), payload())
    member = await Member(first).register()
    await work(member, 1)
    disk.hold = SAVE
    await work(member, 3)
    await disk.next_write()
    before = await first.run_view(RUN)
    async with asyncio.timeout(5.0):
        await first.stop()  # waits for nothing that may never be
    assert not writing(first)
    disk.hold = frozenset()
    second = serving(disk, clock)
    await second.start()
    after = await second.run_view(RUN)
    assert (after.digest, after.version, after.accepted) == (before.digest, before.version, before.accepted)
    assert seqs(disk) == []
    member = dataclasses.replace(member, coordinator=second)
    await work(member, 1)  # more than enough entries have come since the journal's beginning
    assert await kept(disk, 1) == [12]
    await second.stop()


async def test_a_restart_from_a_snapshot_changes_nothing_that_anybody_sees(disk: Disk, clock: Clock) -> None:
    first = serving(disk, clock)
    await first.start()
    await first.create_run(RUN, run_config(quorum=2, max_staleness=2, leases=LEASES), payload())
    members = [await Member(first, worker_id=name).register() for name in ("w1", "w2")]
    for number in range(6):
        for member in members:
            await member.checkout()
        for member in members:
            clock.now += 1.0 + number % 3
            await member.commit(
                number,
                float(number),
                metrics={"outer_loss": number + 0.25},
                timing={"compute_seconds": 0.5},
            )
    await members[0].commit(6, 9.0, metrics={"outer_loss": 7.0})
    await kept(disk, 1, EVERY)
    before = [await seen(first), await first.run_view(RUN)]
    await first.stop()
    assert recover(disk.open(), RUN).snapshot is not None
    disk.database.holder = None

    second = serving(disk, clock)
    await second.start()
    actor = second._runs.loaded(RUN)
    assert actor is not None
    view = await second.run_view(RUN)
    expected = before[1]
    # Who lives and how fast each is belongs to the process that saw it, as leases do.
    gone: dict[str, object] = {
        "live": False,
        "actual_seconds": 0.0,
        "predicted_seconds": 0.0,
        "next_seconds": (0.0, 0.0),
    }
    live = tuple(dataclasses.replace(worker, **gone) for worker in expected.workers)  # type: ignore[union-attr]
    assert view == dataclasses.replace(expected, workers=live)  # type: ignore[type-var]
    assert await seen(second) == before[0]
    whole = serving(disk_without_snapshots(disk), clock)
    await whole.start()
    other = whole._runs.loaded(RUN)
    assert other is not None
    timers = [each._feed.engine.presence.timer.lease_seconds() for each in (actor, other)]
    assert timers[0] == timers[1] != LEASES.initial_seconds
    answers = []
    for served in (second, whole):
        member = dataclasses.replace(members[0], coordinator=served)
        repeated = await member.commit(6, 9.0, seq=member.applied, prev_applied=member.applied - 1)
        assert repeated.duplicate
        late = await dataclasses.replace(members[1], coordinator=served).commit(6, 3.0)
        answers.append((repeated, late, (await served.run_view(RUN)).digest))
    assert answers[0] == answers[1]
    await second.stop()
    await whole.stop()


def disk_without_snapshots(disk: Disk) -> Disk:
    """Another disk with the same journal."""
    copy = Disk()
    copy.database.journals = {stream: list(entries) for stream, entries in disk.database.journals.items()}
    copy.database.runs, copy.database.workers = dict(disk.database.runs), dict(disk.database.workers)
    return copy


async def test_an_ended_run_comes_back_from_its_snapshot(disk: Disk, clock: Clock) -> None:
    first = serving(disk, clock)
    await first.start()
    await first.create_run(RUN, run_config(max_versions=5), payload())
    await work(await Member(first).register(), 5)
    assert len(disk.journal()) == 13
    await poll_async(lambda: not writing(first), "the snapshot")
    await first.stop()
    assert seqs(disk)[-1] >= EVERY
    second = serving(disk, clock)
    await second.start()
    view = await second.run_view(RUN)
    assert (view.status, view.version, view.reason) == ("finished", 5, "reached max_versions")
    async with asyncio.timeout(5.0):
        watched = [record.version async for record, _ in second.watch(RUN, 0) if record is not None]
    assert watched == [1, 2, 3, 4, 5]
    report = await second.verify_run(RUN)
    assert (report.clean, report.snapshots) == (True, len(seqs(disk)))
    await second.stop()


async def test_a_damaged_snapshot_is_passed_over_and_replaced(disk: Disk, clock: Clock) -> None:
    first = serving(disk, clock)
    await first.start()
    await first.create_run(RUN, run_config(), payload())
    member = await Member(first).register()
    await work_and_keep(member, disk, 7)
    before = (await first.run_view(RUN)).digest
    await first.stop()
    assert seqs(disk) == [6, 12]
    shots = disk.database.snapshots[STREAM]
    shots[12] = dataclasses.replace(shots[12], payload=b"damaged")
    second = serving(disk, clock)
    await second.start()
    assert (await second.run_view(RUN)).digest == before
    assert not (await second.verify_run(RUN)).clean
    await work(dataclasses.replace(member, coordinator=second), 1)
    assert await kept(disk, 2, 18) == [6, 18]
    assert (await second.verify_run(RUN)).clean
    await second.stop()


async def test_no_snapshots_on_request(disk: Disk, clock: Clock) -> None:
    coordinator = serving(disk, clock, snapshot_entries=0)
    await coordinator.start()
    await coordinator.create_run(RUN, run_config(), payload())
    await work(await Member(coordinator).register(), 10)
    await settled()
    assert disk.done.count("save_snapshot") == 0
    await coordinator.stop()
