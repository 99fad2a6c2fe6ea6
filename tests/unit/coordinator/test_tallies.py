"""What is counted of a run (refusals, repetitions, bytes) outlives the process that counted it."""

from __future__ import annotations

import dataclasses

import pytest

from chronos_common.errors import RunNotActiveError, UnknownVersionError
from chronos_common.store import StreamKey
from chronos_coordinator.coordinator import Coordinator
from tests.support.polling import poll_async
from tests.support.serving import CONFIG, RUN, Clock, Disk, Member, payload, run_config

OFTEN = dataclasses.replace(CONFIG, counts_seconds=0.01)


def counted(disk: Disk) -> str:
    return disk.database.runs[RUN].counts


async def busy(coordinator: Coordinator, disk: Disk) -> Member:
    """A run with one commit, one repetition, two refusals and some traffic; all of it is kept."""
    await coordinator.start()
    await coordinator.create_run(RUN, run_config(), payload())
    member = await Member(coordinator).register()
    await member.checkout()
    query = member.query(0)
    for _ in range(2):
        await coordinator.commit(RUN, query)
    member.applied = 1
    for _ in range(2):
        with pytest.raises(UnknownVersionError):
            await member.commit(99)
    coordinator.count_traffic(RUN, received=1000, sent=300, dense_equivalent=5000)
    await poll_async(lambda: '"received":1000' in counted(disk), "the counts", timeout_seconds=5.0)
    return member


async def shown(coordinator: Coordinator) -> tuple[int, ...]:
    view = await coordinator.run_view(RUN)
    return view.refused, view.duplicate, view.bytes_received, view.bytes_sent, view.bytes_dense


@pytest.mark.parametrize("killed", [False, True])
async def test_a_restart_goes_on_counting(disk: Disk, clock: Clock, killed: bool) -> None:
    first = Coordinator(disk.open, config=OFTEN, clock=clock, wall_clock=clock)
    member = await busy(first, disk)
    assert await shown(first) == (2, 1, 1000, 300, 5000)
    if killed:  # nothing that its end writes is there
        runs = dict(disk.database.runs)
        await first.stop()
        disk.database.runs = runs
    else:
        first.count_traffic(RUN, received=1, sent=1, dense_equivalent=1)
        await first.stop()
    last = int(not killed)
    second = Coordinator(disk.open, config=OFTEN, clock=clock, wall_clock=clock)
    await second.start()
    assert await shown(second) == (2, 1, 1000 + last, 300 + last, 5000 + last)
    with pytest.raises(UnknownVersionError):
        await dataclasses.replace(member, coordinator=second).commit(99)
    second.count_traffic(RUN, received=5, sent=5, dense_equivalent=5)
    assert await shown(second) == (3, 1, 1005 + last, 305 + last, 5005 + last)
    await second.stop()


async def test_what_came_after_the_end_is_kept_and_still_not_shown_as_refused(
    disk: Disk, clock: Clock
) -> None:
    first = Coordinator(disk.open, config=OFTEN, clock=clock, wall_clock=clock)
    member = await busy(first, disk)
    await first.stop_run(RUN, "enough")
    with pytest.raises(RunNotActiveError):
        await member.commit(0)
    await first.stop()
    assert RunNotActiveError.reason in counted(disk)
    second = Coordinator(disk.open, config=OFTEN, clock=clock, wall_clock=clock)
    await second.start()
    assert (await second.run_view(RUN)).refused == 2
    await second.stop()


@pytest.mark.parametrize("text", ["?", "[]", "{}", '{"duplicate":-1,"refused":{},"traffic":{}}'])
async def test_counts_that_cannot_be_read_begin_anew(disk: Disk, clock: Clock, text: str) -> None:
    first = Coordinator(disk.open, config=OFTEN, clock=clock, wall_clock=clock)
    await busy(first, disk)
    await first.stop()
    disk.database.runs[RUN] = dataclasses.replace(disk.database.runs[RUN], counts=text)
    second = Coordinator(disk.open, config=OFTEN, clock=clock, wall_clock=clock)
    await second.start()
    assert await shown(second) == (0, 0, 0, 0, 0)
    assert (await second.verify_run(RUN)).clean
    await second.stop()


async def test_counts_that_were_not_kept_are_kept_later(disk: Disk, clock: Clock) -> None:
    """The store is opened again as after any write, the run goes on, and nothing that was counted is forgotten."""
    coordinator = Coordinator(disk.open, config=OFTEN, clock=clock, wall_clock=clock)
    member = await busy(coordinator, disk)
    disk.hold = frozenset({"put_counts"})
    coordinator.count_traffic(RUN, received=1, sent=0, dense_equivalent=0)
    write = await disk.next_write()
    write.fail(landed=False)
    disk.hold = frozenset()
    await poll_async(lambda: disk.opened == 2, "the store to be opened again", timeout_seconds=5.0)
    await member.commit(1)
    coordinator.count_traffic(RUN, received=1, sent=0, dense_equivalent=0)
    await poll_async(lambda: '"received":1002' in counted(disk), "the counts", timeout_seconds=5.0)
    assert len(disk.database.journals[StreamKey.of_run(RUN)]) == 6
    await coordinator.stop()


async def test_what_does_not_change_is_not_written(disk: Disk, clock: Clock) -> None:
    coordinator = Coordinator(disk.open, config=OFTEN, clock=clock, wall_clock=clock)
    member = await busy(coordinator, disk)
    await poll_async(lambda: not coordinator._tallies._changed, "the counts", timeout_seconds=5.0)
    written = disk.done.count("put_counts")
    await member.checkout()
    await coordinator.stop()
    assert disk.done.count("put_counts") == written
