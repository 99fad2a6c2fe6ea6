"""The worker when a call is refused: what becomes of the update, and who has to give up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from chronos_common.errors import (
    ChainBrokenError,
    ChronosError,
    IncarnationSupersededError,
    InvalidRequestError,
    MalformedPayloadError,
    UnknownVersionError,
    WorkerNotMemberError,
)
from tests.support.fake_coordinator import RUN
from tests.support.fake_time import LONG_SECONDS
from tests.support.faulty_client import DELIVER, STALE
from tests.support.worker_bench import Bench


async def test_a_stale_update_goes_with_the_next_one_at_its_decay() -> None:
    faults = [STALE]
    bench = Bench(lambda method: faults.pop() if method == "commit" and faults else DELIVER)
    bench.coordinator.create()
    await bench.run_updates(2)
    assert bench.applied == [0.125, 1.0]  # three versions behind: a half to the third
    assert bench.value("chronos_worker_commits_total", outcome="refused") == 1


async def test_the_time_of_a_refused_commit_goes_with_the_next_one() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.errors["commit"] = [WorkerNotMemberError("join first")]

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        bench.time.now += 2.0
        if number == 2:
            bench.worker.stop()

    bench.compute.before = before
    await bench.run()
    computed = [record.timing["compute"] for record in bench.coordinator.records("w")]
    assert computed == pytest.approx([4.0, 2.0])
    assert bench.value("chronos_worker_seconds_total", activity="compute") == pytest.approx(6.0)


async def test_no_member_any_more_checks_out_again_and_keeps_the_update() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.errors["commit"] = [WorkerNotMemberError("join first")]
    await bench.run_updates(2)
    assert bench.applied == [1.0, 1.0]


async def test_a_broken_chain_settles_what_it_tells_about() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.errors["commit"] = [ChainBrokenError("another", last_applied=5, incarnation=1)]
    bench.stop_at(2)
    # The fake's chain really ends at 0, so that the next commits cannot be matched: the worker starts anew.
    bench.compute.before = lambda number, _arguments: bench.worker.stop() if number == 4 else None
    await bench.run()
    assert max(bench.applied) == 1.0
    assert sum(bench.applied) >= 2.0


@pytest.mark.parametrize(
    "error",
    [MalformedPayloadError("bad bytes"), InvalidRequestError("bad field"), UnknownVersionError("never was")],
)
async def test_one_unusable_update_does_not_stop_the_worker(error: ChronosError) -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.errors["commit"] = [error]
    await bench.run_updates(3)
    kept = 0.0 if isinstance(error, MalformedPayloadError) else 1.0
    assert bench.applied == [kept, 1.0, 1.0]
    assert bench.client.checkouts[1].known is None


async def test_updates_that_are_always_unusable_end_the_work_on_the_run() -> None:
    bench = Bench(run_id=RUN, max_failures=3)
    bench.coordinator.create()
    bench.client.errors["commit"] = [MalformedPayloadError("bad bytes")] * 3
    with pytest.raises(MalformedPayloadError):
        await bench.run()
    assert bench.client.calls["commit"] == 3
    assert bench.client.left[0].startswith("cannot work on run")


async def test_an_unknown_version_is_dropped() -> None:
    bench = Bench()
    bench.coordinator.create()

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        bench.client.errors["checkout"] = [UnknownVersionError("no such version")] if number == 0 else []
        if number == 1:
            bench.worker.stop()

    bench.compute.before = before
    await bench.run()
    assert bench.applied == [1.0, 1.0]
    assert [query.known for query in bench.client.checkouts] == [None, 0, None]


@pytest.mark.parametrize("where", ["checkout", "commit", "heartbeat"])
async def test_a_superseded_worker_stops_at_once_with_the_reason(where: str) -> None:
    bench = Bench()
    bench.coordinator.create()
    if where == "heartbeat":
        bench.client.gates["commit"] = asyncio.Event()
    running = asyncio.create_task(bench.run())
    if where == "heartbeat":
        await bench.client.until("commit", 1)
        bench.coordinator.register("w", "newer")
        bench.time.pass_long(LONG_SECONDS)
    else:
        bench.client.plan = lambda method: _supersede(bench) if method == where else DELIVER
    with pytest.raises(IncarnationSupersededError, match="newer process"):
        await running
    assert bench.client.left == []  # the name belongs to somebody else now


def _supersede(bench: Bench) -> str:
    if bench.coordinator.registrations["w"].instance_id != "newer":
        bench.coordinator.register("w", "newer")
    return DELIVER
