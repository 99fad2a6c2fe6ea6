"""Checkouts that wait: what ends a wait, and that nothing is left of one that ended."""

from __future__ import annotations

import asyncio

import pytest

from chronos_common.errors import (
    DrainingError,
    IncarnationSupersededError,
    RunNotActiveError,
    StoreWriteError,
    UnavailableError,
    WaitExpiredError,
)
from chronos_common.versions import LeaseConfig
from chronos_coordinator.coordinator import Coordinator
from tests.support.serving import RUN, Clock, Disk, Member, parked, payload, run_config, settled, value_of


async def test_a_publish_answers_those_who_wait_for_it_and_no_others(
    coordinator: Coordinator, member: Member
) -> None:
    await member.checkout()
    readers = [
        asyncio.create_task(Member(coordinator, worker_id="").checkout(min_version=v, wait=60.0))
        for v in (1, 2)
    ]
    await parked(coordinator, 2)
    await member.commit(0, 1.0)
    assert value_of((await readers[0]).snapshot) == -1.0
    assert not readers[1].done()
    await member.commit(1, 1.0)
    assert (await readers[1]).version == 2


async def test_a_wait_expires_on_time_and_leaves_nothing(
    coordinator: Coordinator, member: Member, clock: Clock
) -> None:
    with pytest.raises(WaitExpiredError, match="version 1 is not published yet"):
        await member.checkout(min_version=1, wait=0.0)
    waiting = asyncio.create_task(member.checkout(min_version=1, wait=0.05))
    await parked(coordinator)
    clock.now += 0.05
    with pytest.raises(WaitExpiredError):
        await waiting
    await parked(coordinator, 0)


async def test_a_caller_that_hangs_up_is_forgotten_at_once(coordinator: Coordinator, member: Member) -> None:
    waiting = asyncio.create_task(member.checkout(min_version=1, wait=3600.0))
    await parked(coordinator)
    waiting.cancel()
    await parked(coordinator, 0)
    assert (await member.checkout()).version == 0


async def test_who_hung_up_is_expected_to_work_for_one_lease_time(
    coordinator: Coordinator, clock: Clock
) -> None:
    await coordinator.create_run(RUN, run_config(quorum=2), payload())
    gone, works = [await Member(coordinator, worker_id=name).register() for name in ("gone", "works")]
    waiting = asyncio.create_task(gone.checkout(min_version=1, wait=3600.0))
    await works.checkout()
    await parked(coordinator)
    waiting.cancel()
    await parked(coordinator, 0)
    assert (await works.commit(0)).version == 0
    clock.now += 31.0
    await coordinator.heartbeat("works", 1, [(RUN, 0)])
    assert (await coordinator.run_view(RUN)).version == 1


async def test_a_workers_newer_checkout_ends_the_older_and_keeps_its_own_lease(
    coordinator: Coordinator, member: Member
) -> None:
    """An old connection that is half open must not take the lease of the new one away again."""
    await member.checkout()
    stale = asyncio.create_task(member.checkout(min_version=1, wait=3600.0))
    await parked(coordinator)
    answer = await member.checkout()
    assert answer.work_seconds == 30.0
    with pytest.raises(UnavailableError, match="newer checkout"):
        await stale
    actor = coordinator._runs.loaded(RUN)
    assert actor is not None
    await actor.announce("w1", 0)
    lease = actor._feed.engine.presence.lease("w1")
    assert lease is not None
    assert lease.base == 0


async def test_a_lease_that_was_returned_by_waiting_lets_the_version_out_for_all(
    coordinator: Coordinator, disk: Disk
) -> None:
    """max_staleness 0: the round is complete, and the last one who holds it back stops working."""
    await coordinator.create_run(RUN, run_config(quorum=1, max_staleness=0, max_in_flight=1), payload())
    slow, fast = [await Member(coordinator, worker_id=name).register() for name in ("slow", "fast")]
    await asyncio.gather(slow.checkout(), fast.checkout())
    assert (await fast.commit(0)).version == 0
    waiting = asyncio.create_task(fast.checkout(min_version=1, wait=60.0))
    await parked(coordinator)
    assert (await slow.checkout(min_version=1, wait=60.0)).version == 1
    assert (await waiting).version == 1


async def test_a_lease_that_runs_out_while_something_is_written_is_not_overlooked(
    coordinator: Coordinator, disk: Disk, clock: Clock
) -> None:
    """The deadline lies between the decision before it and the look for the next one."""
    leases = LeaseConfig(initial_seconds=2.0, min_seconds=2.0, max_seconds=2.0)
    config = run_config(quorum=1, max_staleness=0, max_in_flight=1, leases=leases)
    await coordinator.create_run(RUN, config, payload())
    hung, fast = [await Member(coordinator, worker_id=name).register() for name in ("hung", "fast")]
    await asyncio.gather(hung.checkout(), fast.checkout())
    waiting = asyncio.create_task(Member(coordinator, worker_id="").checkout(min_version=1, wait=3600.0))
    await parked(coordinator)
    disk.hold = frozenset({"append"})
    commit = asyncio.create_task(fast.commit(0))
    write = await disk.next_write()
    clock.now += 2.5
    disk.hold = frozenset()
    write.land()
    assert (await commit).version == 0
    assert (await asyncio.wait_for(waiting, 5.0)).version == 1


async def test_leaving_ends_the_workers_wait_for_good(coordinator: Coordinator, member: Member) -> None:
    waiting = asyncio.create_task(member.checkout(min_version=1, wait=3600.0))
    await parked(coordinator)
    await coordinator.deregister("w1", member.incarnation, "done")
    with pytest.raises(UnavailableError, match="left"):
        await waiting
    await settled()
    assert not any(worker.live for worker in (await coordinator.run_view(RUN)).workers)


async def test_a_superseded_process_that_waits_gets_no_version(
    coordinator: Coordinator, member: Member
) -> None:
    waiting = asyncio.create_task(member.checkout(min_version=1, wait=3600.0))
    await parked(coordinator)
    newer = await Member(coordinator).register("instance-2")
    with pytest.raises(UnavailableError):
        await waiting
    with pytest.raises(IncarnationSupersededError):
        await member.checkout()
    assert (await newer.checkout()).version == 0


async def test_drain_ends_waits_and_still_decides_commits(coordinator: Coordinator, member: Member) -> None:
    await member.checkout()
    waiting = asyncio.create_task(Member(coordinator, worker_id="").checkout(min_version=9, wait=3600.0))
    anywhere = asyncio.create_task(
        Member(coordinator, worker_id="").checkout(run_id="", min_version=9, wait=3600.0)
    )
    await parked(coordinator)
    coordinator.drain()
    for task in (waiting,):
        with pytest.raises(DrainingError):
            await task
    anywhere.cancel()
    with pytest.raises(DrainingError):
        await Member(coordinator, worker_id="").checkout(min_version=9, wait=3600.0)
    assert (await member.commit(0)).version == 1
    assert (await member.checkout()).version == 1


async def test_stop_finishes_the_write_under_way(
    coordinator: Coordinator, member: Member, disk: Disk
) -> None:
    await member.checkout()
    disk.hold = frozenset({"append"})
    commit = asyncio.create_task(member.commit(0))
    write = await disk.next_write()
    late = asyncio.create_task(Member(coordinator, worker_id="").checkout(wait=3600.0))
    await settled()
    stopping = asyncio.create_task(coordinator.stop())
    await settled()
    assert not stopping.done()
    write.land()
    assert (await commit).version == 1
    await stopping
    with pytest.raises(DrainingError):
        await late
    with pytest.raises(DrainingError):
        await member.commit(1)


async def test_the_end_of_a_run_ends_its_waits(coordinator: Coordinator, member: Member) -> None:
    worker = asyncio.create_task(member.checkout(min_version=1, wait=3600.0))
    reader = asyncio.create_task(Member(coordinator, worker_id="").checkout(min_version=1, wait=3600.0))
    await parked(coordinator, 2)
    await coordinator.stop_run(RUN, "enough")
    with pytest.raises(RunNotActiveError, match="enough"):
        await worker
    assert (await reader).status == "stopped"


async def test_a_defect_strands_nobody(
    coordinator: Coordinator, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    await member.checkout()
    actor = coordinator._runs.loaded(RUN)
    assert actor is not None

    def broken(_now: float) -> None:
        raise ZeroDivisionError("a defect")

    reader = asyncio.create_task(Member(coordinator, worker_id="").checkout(min_version=1, wait=3600.0))
    await parked(coordinator)
    monkeypatch.setattr(actor._feed.engine, "tick", broken)
    async with asyncio.timeout(5.0):
        with pytest.raises(Exception, match="defect|not confirmed"):
            await member.commit(0)
        # The engine has been read back, without the defect.
        assert (await member.commit(0)).version == 1
        assert (await reader).version == 1


async def test_a_defect_among_those_who_wait_strands_none_of_them(
    coordinator: Coordinator, member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = coordinator._runs.loaded(RUN)
    assert actor is not None
    readers = [
        asyncio.create_task(Member(coordinator, worker_id="").checkout(min_version=1, wait=wait))
        for wait in (1.0, 3600.0)
    ]
    await parked(coordinator, 2)

    def broken(_worker: str, _now: float) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(actor._feed.engine, "stop_waiting", broken)
    clock.now += 2.0
    async with asyncio.timeout(5.0):
        with pytest.raises(StoreWriteError):
            await coordinator.heartbeat("w1", 1, [(RUN, 0)])
        outcomes = await asyncio.gather(*readers, return_exceptions=True)
    assert all(isinstance(outcome, StoreWriteError) for outcome in outcomes)
