"""The worker that is asked to stop: at once while it waits, within the drain time while it works."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from chronos_common.errors import (
    ChronosError,
    UnavailableError,
    WorkerNotMemberError,
)
from tests.support.fake_coordinator import run_config
from tests.support.faulty_client import DELIVER, LOSE_REQUEST
from tests.support.worker_bench import DRAIN_SECONDS, Bench


async def test_stop_while_it_waits_ends_at_once() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.gates["checkout"] = asyncio.Event()
    running = asyncio.create_task(bench.run())
    await bench.client.until("checkout", 1)
    bench.worker.stop()
    await running
    assert bench.client.left == ["the worker stops"]


async def test_stop_lets_the_commit_finish_within_the_drain_time() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.gates["commit"] = asyncio.Event()
    running = asyncio.create_task(bench.run())
    await bench.client.until("commit", 1)
    bench.worker.stop()
    bench.client.gates["commit"].set()
    await running
    assert bench.applied == [1.0]


async def test_after_the_drain_time_the_work_is_abandoned_and_the_lease_returned() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.gates["commit"] = asyncio.Event()
    running = asyncio.create_task(bench.run())
    await bench.client.until("commit", 1)
    bench.worker.stop()
    await bench.time.until_asleep(DRAIN_SECONDS)
    bench.time.pass_long(DRAIN_SECONDS)
    await running
    assert bench.applied == [0.0]
    assert bench.client.left == ["the worker stops"]


async def test_stop_during_the_inner_loop_cuts_it_before_the_drain_time_is_over() -> None:
    bench = Bench()
    bench.coordinator.create(config=run_config())
    asked: list[bool] = []

    def before(_number: int, arguments: Mapping[str, Any]) -> None:
        bench.worker.stop()
        while DRAIN_SECONDS not in bench.time.slept:
            pass
        asked.append(arguments["should_stop"]())
        bench.time.now += DRAIN_SECONDS
        asked.append(arguments["should_stop"]())

    bench.compute.before = before
    await bench.run()
    assert asked[-1] is True
    assert bench.applied == [1.0]


async def test_stop_before_the_start_and_before_the_registration() -> None:
    early = Bench()
    early.worker.stop()
    await early.run()
    waiting = Bench(lambda method: LOSE_REQUEST if method == "register" else DELIVER)
    running = asyncio.create_task(waiting.run())
    await waiting.client.until("register", 3)
    waiting.worker.stop()
    await running
    assert waiting.client.left == []


@pytest.mark.parametrize("error", [UnavailableError("away"), WorkerNotMemberError("who?")])
async def test_a_goodbye_that_fails_is_no_failure(error: ChronosError) -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.errors["deregister"] = [error]
    await bench.run_updates(1)
    assert bench.applied == [1.0]
