"""Runs: their ids, several at once, their end, and journals that cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chronos_common.codec import encode
from chronos_common.errors import (
    ConfigurationError,
    CorruptStateError,
    DrainingError,
    InvalidRequestError,
    OverloadedError,
    RunExistsError,
    RunNotActiveError,
    RunNotFoundError,
    ShapeMismatchError,
    WaitExpiredError,
)
from chronos_common.store import JournalEntry, MemoryStore, StreamKey
from chronos_coordinator.coordinator import Coordinator
from chronos_coordinator.runs import REREAD_SECONDS
from tests.support.serving import CONFIG, RUN, Clock, Disk, Member, payload, run_config, settled


async def test_creating_twice_is_creating_once(coordinator: Coordinator, disk: Disk) -> None:
    first, second = await asyncio.gather(
        *(coordinator.create_run(RUN, run_config(), payload(1.0)) for _ in range(2))
    )
    assert first == second
    assert disk.kinds() == ["created"]


async def test_a_taken_id_is_refused_to_another_definition(coordinator: Coordinator) -> None:
    await coordinator.create_run(RUN, run_config(), payload(1.0))
    with pytest.raises(RunExistsError):
        await coordinator.create_run(RUN, run_config(max_versions=7), payload(1.0))
    with pytest.raises(RunExistsError):
        await coordinator.create_run(RUN, run_config(), payload(2.0))


@pytest.mark.parametrize(
    "name", ["a b", "ünïcodé-✓", "../../etc/passwd", "'; DROP TABLE runs; --", "%00", "x" * 255]
)
async def test_odd_names_are_names(coordinator: Coordinator, name: str) -> None:
    assert (await coordinator.create_run(name, run_config(), payload())).run_id == name
    worker = await Member(coordinator, worker_id=name, run_id=name).register(name)
    await worker.checkout()
    assert (await worker.commit(0)).version == 1
    assert (await coordinator.verify_run(name)).clean


@pytest.mark.parametrize("name", ["x" * 256, "line\nbreak", "\x00", "ü" * 128])
async def test_names_that_cannot_be_printed_or_kept_are_refused(coordinator: Coordinator, name: str) -> None:
    with pytest.raises(InvalidRequestError, match="run_id"):
        await coordinator.create_run(name, run_config(), payload())
    with pytest.raises(InvalidRequestError, match="run_id"):
        await coordinator.run_view(name)


async def test_a_run_without_a_name_gets_one(coordinator: Coordinator) -> None:
    names = {(await coordinator.create_run("", run_config(), payload())).run_id for _ in range(3)}
    assert len(names) == 3
    assert {view.run_id for view in await coordinator.list_runs()} == names


async def test_initial_values_that_do_not_fit_create_nothing(coordinator: Coordinator) -> None:
    with pytest.raises(ShapeMismatchError):
        await coordinator.create_run(RUN, run_config(), encode("identity", {"x": np.zeros(3)}))
    bounded = replace(run_config(), parameters=(replace(run_config().parameters[0], lower=0.0),))
    with pytest.raises(ConfigurationError, match="bounds"):
        await coordinator.create_run(RUN, bounded, payload(-1.0))
    assert await coordinator.list_runs() == []
    with pytest.raises(RunNotFoundError):
        await coordinator.run_view(RUN)


async def test_a_quorum_that_no_version_could_have_creates_nothing(disk: Disk, clock: Clock) -> None:
    config = replace(CONFIG, fleet=replace(CONFIG.fleet, max_workers=2))
    small = Coordinator(disk.open, config=config, clock=clock, wall_clock=clock)
    await small.start()
    with pytest.raises(ConfigurationError, match="quorum is 3, above the 2 workers"):
        await small.create_run(RUN, run_config(quorum=3), payload())
    assert not disk.journal()
    await small.create_run(RUN, run_config(quorum=2), payload())
    for name in ("w1", "w2"):
        await Member(small, worker_id=name).register()
    with pytest.raises(OverloadedError, match="may try again"):
        await Member(small, worker_id="w3").register()
    await small.stop()
    # The limit was lowered: the run goes on, and creating it once more finds it.
    smaller = Coordinator(disk.open, config=replace(config, fleet=replace(config.fleet, max_workers=1)))
    await smaller.start()
    assert (await smaller.create_run(RUN, run_config(quorum=2), payload())).status == "active"
    await smaller.stop()


async def test_a_worker_that_moves_is_missed_by_nobody(coordinator: Coordinator) -> None:
    """Quorum 2 of the runs' living: it follows a worker from one to the other and back."""
    for run_id in ("a", "b"):
        await coordinator.create_run(run_id, run_config(quorum=2), payload())
    stays = await Member(coordinator, worker_id="stays", run_id="a").register()
    moves = await Member(coordinator, worker_id="moves", run_id="a").register()
    await asyncio.gather(stays.checkout(), moves.checkout())
    assert (await stays.commit(0)).version == 0
    moves.run_id = "b"
    await moves.checkout()
    assert (await coordinator.run_view("a")).version == 1
    assert (await moves.commit(0)).version == 1
    moves.run_id, moves.applied = "a", 0
    await moves.checkout()
    await stays.checkout()
    assert (await stays.commit(1)).version == 1
    assert (await moves.commit(1)).version == 2
    assert [w.live for w in (await coordinator.run_view("b")).workers] == [False]


async def test_a_late_commit_to_the_run_before_does_not_take_the_worker_out_of_the_new_one(
    coordinator: Coordinator,
) -> None:
    for run_id in ("a", "b"):
        await coordinator.create_run(run_id, run_config(quorum=2), payload())
    worker = await Member(coordinator, run_id="a").register()
    await worker.checkout()
    late = worker.query(0)
    await worker.checkout(run_id="b")
    assert (await coordinator.commit("a", late)).last_applied == 1
    assert [w.live for w in (await coordinator.run_view("b")).workers] == [True]
    assert [w.live for w in (await coordinator.run_view("a")).workers] == [False]
    await coordinator.heartbeat("w1", 1, [("a", 0), ("b", 0)])
    assert [w.live for w in (await coordinator.run_view("a")).workers] == [False]


async def test_any_run_spreads_workers_and_each_stays_where_it_is(coordinator: Coordinator) -> None:
    for run_id in ("a", "b"):
        await coordinator.create_run(run_id, run_config(quorum=2), payload())
    members = [await Member(coordinator, worker_id=f"w{i}").register() for i in range(4)]
    first = [(await m.checkout(run_id="")).run_id for m in members]
    assert sorted(first) == ["a", "a", "b", "b"]
    assert [(await m.checkout(run_id="")).run_id for m in members] == first
    await coordinator.stop_run("a", "")
    assert {(await m.checkout(run_id="")).run_id for m in members} == {"b"}


async def test_any_run_but_those_the_worker_cannot_work_on(coordinator: Coordinator) -> None:
    for run_id in ("a", "b"):
        await coordinator.create_run(run_id, run_config(), payload())
    worker = await Member(coordinator).register()
    assert (await worker.checkout(run_id="", except_runs=("a",))).run_id == "b"
    assert (await worker.checkout(run_id="", except_runs=("b",))).run_id == "a"
    with pytest.raises(WaitExpiredError):
        await worker.checkout(run_id="", except_runs=("a", "b"))
    waiting = asyncio.create_task(worker.checkout(run_id="", except_runs=("a", "b"), wait=60.0))
    await settled()
    await coordinator.create_run("c", run_config(), payload())
    assert (await waiting).run_id == "c"


async def test_any_run_waits_for_a_run_to_be_created(coordinator: Coordinator, clock: Clock) -> None:
    worker = await Member(coordinator).register()
    with pytest.raises(WaitExpiredError, match="no active run"):
        await worker.checkout(run_id="", wait=0.0)
    waiting = asyncio.create_task(worker.checkout(run_id="", wait=60.0))
    await settled()
    assert not waiting.done()
    await coordinator.create_run(RUN, run_config(), payload())
    assert (await waiting).run_id == RUN


async def test_any_run_drops_what_the_worker_knew_of_another(coordinator: Coordinator) -> None:
    await coordinator.create_run(RUN, run_config(), payload())
    worker = await Member(coordinator).register()
    answer = await worker.checkout(run_id="", known=0, min_version=7)
    assert not answer.not_modified
    assert answer.snapshot is not None


async def test_who_waits_for_any_run_hears_of_a_drain(coordinator: Coordinator) -> None:
    waiting = asyncio.create_task((await Member(coordinator).register()).checkout(run_id="", wait=60.0))
    await settled()
    coordinator.drain()
    with pytest.raises(DrainingError):
        await waiting


async def test_a_finished_run_gives_stored_answers_and_takes_nothing_new(coordinator: Coordinator) -> None:
    await coordinator.create_run(RUN, run_config(max_versions=1), payload())
    worker = await Member(coordinator).register()
    await worker.checkout()
    last = worker.query(0)
    answer = await coordinator.commit(RUN, last)
    assert (answer.version, answer.status, answer.duplicate) == (1, "finished", False)
    again = await coordinator.commit(RUN, last)
    assert (again.duplicate, again.last_applied, again.status) == (True, 1, "finished")
    with pytest.raises(RunNotActiveError, match="max_versions"):
        await coordinator.commit(RUN, replace(last, seq=2, prev_applied=1, base=1))
    with pytest.raises(RunNotActiveError):
        await worker.checkout()
    assert await coordinator.heartbeat("w1", 1, [(RUN, 1), ("never-was", 0)]) == [RUN, "never-was"]
    view = await coordinator.run_view(RUN)
    assert (view.duplicate, view.refused, view.accepted) == (1, 0, 1), "to come late is no refusal"
    stopped = await coordinator.stop_run(RUN, "too late")
    assert (stopped.status, stopped.reason) == ("finished", "reached max_versions")


@pytest.mark.parametrize("damage", ["middle", "first", "config", "kind", "gone"])
async def test_a_journal_that_cannot_be_read_takes_only_its_own_run_down(
    coordinator: Coordinator, member: Member, disk: Disk, clock: Clock, damage: str
) -> None:
    await coordinator.create_run("good", run_config(), payload())
    await member.checkout()
    await member.commit(0)
    await coordinator.stop()
    journal = disk.database.journals[StreamKey.of_run(RUN)]
    if damage == "middle":
        journal[2] = replace(journal[2], payload=payload(5.0))
    elif damage == "first":
        journal[0] = replace(journal[0], payload=b"no payload")
    elif damage == "config":
        journal[0] = replace(journal[0], meta=journal[0].meta.replace("parameters", "perimeters"))
    elif damage == "kind":
        journal[1] = replace(journal[1], kind="from the future")
    else:
        journal.clear()
    second = Coordinator(disk.open, config=CONFIG, clock=clock, wall_clock=clock)
    await second.start()
    good = await Member(second, worker_id="w2", run_id="good").register()
    await good.checkout()
    assert (await good.commit(0)).version == 1
    for attempt in (second.run_view(RUN), second.create_run(RUN, run_config(max_versions=5), payload())):
        with pytest.raises((CorruptStateError, RunExistsError)):
            await attempt
    with pytest.raises(CorruptStateError):
        await Member(second, worker_id="w2", incarnation=1).checkout()
    listed = {view.run_id: view for view in await second.list_runs()}
    assert (listed["good"].status, listed[RUN].status) == ("active", "unreadable")
    assert listed[RUN].reason
    assert not (await second.verify_run(RUN)).clean
    await second.stop()


async def test_a_run_that_cannot_be_read_is_not_replayed_for_every_call(
    coordinator: Coordinator, member: Member, disk: Disk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers ask several times a second; and once the damage is mended, it is served again."""
    await member.checkout()
    await member.commit(0)
    await coordinator.stop()
    journal = disk.database.journals[StreamKey.of_run(RUN)]
    sound = journal[2]
    journal[2] = replace(sound, payload=payload(5.0))
    reads = 0
    entries = MemoryStore.entries

    def counted(store: MemoryStore, *arguments: Any, **more: Any) -> Iterator[JournalEntry]:
        nonlocal reads
        reads += 1
        return entries(store, *arguments, **more)

    monkeypatch.setattr(MemoryStore, "entries", counted)
    second = Coordinator(disk.open, config=CONFIG, clock=clock, wall_clock=clock)
    await second.start()
    for _ in range(5):
        for attempt in (second.run_view(RUN), replace(member, coordinator=second).checkout()):
            with pytest.raises(CorruptStateError, match="differs from the journal"):
                await attempt
    assert reads == 1
    journal[2] = sound
    clock.now += REREAD_SECONDS
    assert (await second.run_view(RUN)).version == 1
    await second.stop()


async def test_a_journal_damaged_while_it_is_served_is_found_at_the_next_reload(
    coordinator: Coordinator, member: Member, disk: Disk
) -> None:
    await coordinator.create_run("good", run_config(), payload())
    await member.checkout()
    reader = asyncio.create_task(Member(coordinator, worker_id="").checkout(min_version=5, wait=3600.0))
    await settled()
    journal = disk.database.journals[StreamKey.of_run(RUN)]
    journal[1] = replace(journal[1], kind="published")
    disk.full = True
    with pytest.raises(Exception, match="not confirmed"):
        await member.commit(0)
    disk.full = False
    async with asyncio.timeout(5.0):
        for attempt in (reader, member.commit(0), member.checkout()):
            with pytest.raises(CorruptStateError):
                await attempt
        assert (await member.checkout(run_id="", wait=60.0)).run_id == "good"
