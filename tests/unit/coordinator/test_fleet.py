"""Workers come, fall silent, are replaced and come back; rounds follow the living."""

from __future__ import annotations

import asyncio

import pytest

from chronos_common.errors import (
    IncarnationSupersededError,
    StoreWriteError,
    WorkerNotMemberError,
    WorkerUnknownError,
)
from chronos_coordinator.coordinator import Coordinator
from tests.support.polling import poll_async
from tests.support.serving import CONFIG, RUN, Clock, Disk, Member, payload, run_config


@pytest.fixture
async def pair(coordinator: Coordinator) -> tuple[Member, Member]:
    """Two workers of a run that needs both for a version."""
    await coordinator.create_run(RUN, run_config(quorum=2), payload())
    first, second = [await Member(coordinator, worker_id=name).register() for name in ("w1", "w2")]
    await asyncio.gather(first.checkout(), second.checkout())
    return first, second


async def version_is(coordinator: Coordinator, version: int) -> None:
    async def reached() -> bool:
        return (await coordinator.run_view(RUN)).version == version

    await poll_async(reached, f"version {version}", timeout_seconds=5.0)


async def test_a_silent_worker_is_expelled_and_the_quorum_follows(
    coordinator: Coordinator, pair: tuple[Member, Member], clock: Clock
) -> None:
    first, second = pair
    assert (await first.commit(0)).version == 0
    clock.now += 4.0
    await coordinator.heartbeat("w1", 1, [])
    clock.now += 2.0  # w2 has been silent for 6 s, its lease would last for 30
    await version_is(coordinator, 1)
    assert [(w.worker_id, w.live) for w in (await coordinator.run_view(RUN)).workers] == [
        ("w1", True),
        ("w2", False),
    ]
    # It was only slow: it speaks, and takes part again.
    assert (await second.commit(0)).staleness == 1


async def test_the_reaper_outlives_a_store_that_fails_under_it(
    coordinator: Coordinator, pair: tuple[Member, Member], clock: Clock, disk: Disk
) -> None:
    first, _ = pair
    await first.commit(0)
    disk.full = True
    clock.now += 6.0  # both are silent; taking w2 out publishes, which fails
    assert coordinator._reaper is not None
    reaper = coordinator._reaper

    async def expelled() -> bool:
        return not coordinator._fleet.live(clock.now) and not coordinator._working_on

    await poll_async(expelled, "both expelled")
    actor = coordinator._runs.loaded(RUN)
    assert actor is not None
    await actor.leave("nobody")  # decided when the run has been read back
    disk.full = False
    clock.now += 31.0
    await coordinator.heartbeat("w2", 1, [(RUN, 0)])
    await version_is(coordinator, 1)
    clock.now += 6.0

    async def silent_again() -> bool:
        return not coordinator._working_on

    await poll_async(silent_again, "w2 expelled again")
    assert not reaper.done()


async def test_a_goodbye_returns_the_lease_at_once(
    coordinator: Coordinator, pair: tuple[Member, Member]
) -> None:
    first, _ = pair
    assert (await first.commit(0)).version == 0
    await coordinator.deregister("w2", 1, "done")
    assert (await coordinator.run_view(RUN)).version == 1
    with pytest.raises(IncarnationSupersededError):
        await coordinator.deregister("w2", 7, "not me")


async def test_a_newer_process_takes_over_and_the_older_hears_only_its_stored_answer(
    coordinator: Coordinator, pair: tuple[Member, Member]
) -> None:
    old, _ = pair
    stored = old.query(0)
    await coordinator.commit(RUN, stored)
    new = await Member(coordinator, worker_id="w1").register("instance-2")
    assert new.incarnation == 2
    assert (await coordinator.commit(RUN, stored)).duplicate
    old.applied = 1
    for attempt in (old.checkout(), old.commit(0), coordinator.heartbeat("w1", 1, [])):
        with pytest.raises(IncarnationSupersededError):
            await attempt
    new.applied = (await new.checkout()).last_applied
    assert new.applied == 1
    assert (await new.commit(0)).last_applied == 2


async def test_a_checkout_that_was_overtaken_by_a_newer_process_is_refused(
    coordinator: Coordinator, pair: tuple[Member, Member], disk: Disk
) -> None:
    await coordinator.create_run("run-2", run_config(), payload())
    first, second = pair
    await first.commit(0)
    disk.hold = frozenset({"append"})
    moving = asyncio.create_task(second.checkout(run_id="run-2"))  # which publishes in the run that it leaves
    write = await disk.next_write()
    newer = await Member(coordinator, worker_id="w2").register("instance-2")
    disk.hold = frozenset()
    write.land()
    with pytest.raises(IncarnationSupersededError):
        await moving
    assert (await newer.checkout(run_id="run-2")).version == 0


async def test_work_is_a_sign_of_life(coordinator: Coordinator, member: Member, clock: Clock) -> None:
    """Two thirds of the timeout pass after each call: each of them must have counted."""
    for base in range(2):
        await member.checkout()
        clock.now += 4.0
        assert coordinator._fleet.live(clock.now) == ("w1",)
        await member.commit(base)
        clock.now += 4.0
        assert coordinator._fleet.live(clock.now) == ("w1",)


async def test_the_same_process_keeps_its_incarnation_and_learns_its_chains(
    coordinator: Coordinator, pair: tuple[Member, Member]
) -> None:
    await pair[0].commit(0)
    for _ in range(2):
        answer = await coordinator.register("w1", "instance-1", "cpu")
        assert (answer.incarnation, answer.chains) == (1, {RUN: 1})


async def test_a_restart_knows_its_workers(coordinator: Coordinator, disk: Disk, clock: Clock) -> None:
    await coordinator.create_run(RUN, run_config(quorum=1), payload())
    old = await Member(coordinator).register()
    await old.checkout()
    await coordinator.stop()
    second = Coordinator(disk.open, config=CONFIG, clock=clock, wall_clock=clock)
    await second.start()
    worker = Member(second, incarnation=1)
    assert (await worker.commit(0)).version == 1
    with pytest.raises(WorkerUnknownError):
        await Member(second, worker_id="stranger", incarnation=1).checkout()
    assert (await Member(second).register("instance-2")).incarnation == 2
    await second.stop()


async def test_after_a_restart_versions_wait_for_the_known_or_one_lease_time(
    coordinator: Coordinator, pair: tuple[Member, Member], disk: Disk, clock: Clock
) -> None:
    await coordinator.stop()
    for announces in (True, False):
        second = Coordinator(disk.open, config=CONFIG, clock=clock, wall_clock=clock)
        await second.start()
        base = (await second.run_view(RUN)).version
        worker = Member(second, incarnation=1, applied=pair[0].applied)
        assert (await worker.commit(base)).version == base
        pair[0].applied = worker.applied
        if announces:
            await second.heartbeat("w2", 1, [(RUN, base)])
            await second.deregister("w2", 1, "only said what it held")
        else:
            clock.now += 30.0
            await second.heartbeat("w1", 1, [(RUN, base)])
        assert (await second.run_view(RUN)).version == base + 1
        await second.stop()


async def test_a_registration_that_failed_can_be_repeated(coordinator: Coordinator, disk: Disk) -> None:
    for landed in (False, True):
        disk.hold = frozenset({"put_worker"})
        registering = asyncio.create_task(coordinator.register("w1", f"instance-{landed}", "cpu"))
        write = await disk.next_write()
        disk.hold = frozenset()
        write.fail(landed=landed)
        with pytest.raises(StoreWriteError):
            await registering
        answer = await coordinator.register("w1", f"instance-{landed}", "cpu")
        assert answer.incarnation == 1 + landed


async def test_a_stranger_to_the_run_is_told_so(coordinator: Coordinator, member: Member) -> None:
    with pytest.raises(WorkerNotMemberError):
        await member.commit(0)
    with pytest.raises(WorkerUnknownError):
        await Member(coordinator, worker_id="w9", incarnation=1).commit(0)
