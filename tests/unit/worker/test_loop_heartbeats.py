"""The worker's signs of life beside its work: what they say, and what their answers change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from chronos_common.errors import (
    ChronosError,
    UnavailableError,
)
from tests.support.fake_coordinator import RUN
from tests.support.fake_time import LONG_SECONDS
from tests.support.worker_bench import Bench


async def test_heartbeats_say_what_is_held_and_survive_an_outage() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.gates["commit"] = asyncio.Event()
    running = asyncio.create_task(bench.run())
    await bench.client.until("commit", 1)
    bench.client.errors["heartbeat"] = [UnavailableError("away")]
    for count in (1, 2, 3):
        await bench.time.until_asleep(LONG_SECONDS)
        bench.time.pass_long(LONG_SECONDS)
        await bench.client.until("heartbeat", count)
    assert bench.client.holding == [[(RUN, 0)]] * 3
    bench.coordinator.forget_workers()
    await bench.time.until_asleep(LONG_SECONDS)
    bench.time.pass_long(LONG_SECONDS)
    await bench.client.until("register", 2)
    bench.stop_at(2)
    bench.client.gates["commit"].set()
    await running


@pytest.mark.parametrize("during", ["commit", "checkout"])
async def test_a_heartbeat_that_registers_anew_does_not_supersede_its_own_process(during: str) -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.gates[during] = asyncio.Event()
    running = asyncio.create_task(bench.run())
    await bench.client.until(during, 1)
    bench.coordinator.forget_workers()
    bench.coordinator.first_incarnation = 5
    await bench.time.until_asleep(LONG_SECONDS)
    bench.time.pass_long(LONG_SECONDS)
    await bench.client.until("register", 2)
    await bench.time.until_asleep(LONG_SECONDS)
    bench.stop_at(2)
    bench.client.gates[during].set()
    await running
    assert bench.coordinator.records("w")[-1].incarnation == 5
    assert bench.client.left == ["the worker stops"]


async def test_work_on_a_run_that_a_heartbeat_calls_ended_is_dropped() -> None:
    bench = Bench(run_id=RUN)
    bench.coordinator.create()
    bench.coordinator.ended_by_heartbeat = (RUN, "elsewhere")
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def before(_number: int, arguments: Mapping[str, Any]) -> None:
        loop.call_soon_threadsafe(bench.time.pass_long, LONG_SECONDS)
        while not arguments["should_stop"]():
            pass
        loop.call_soon_threadsafe(stopped.set)

    bench.compute.before = before
    await bench.run()
    assert stopped.is_set()
    assert bench.client.calls["commit"] == 0


async def test_heartbeats_that_fail_in_an_unknown_way_end_the_worker() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.gates["commit"] = asyncio.Event()
    bench.coordinator.ended_by_heartbeat = None  # type: ignore[assignment]
    running = asyncio.create_task(bench.run())
    await bench.client.until("commit", 1)
    bench.time.pass_long(LONG_SECONDS)
    with pytest.raises(ChronosError, match="heartbeats failed: TypeError"):
        await running
