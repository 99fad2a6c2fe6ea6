"""The worker when messages are lost or damaged, or the coordinator forgets: it pauses, and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.fake_time import LONG_SECONDS
from tests.support.faulty_client import DELIVER, LOSE_ANSWER, LOSE_REQUEST
from tests.support.worker_bench import Bench


@pytest.mark.parametrize("fault", [LOSE_REQUEST, LOSE_ANSWER])
@pytest.mark.parametrize("method", ["register", "checkout", "commit", "get_run"])
async def test_a_lost_message_costs_a_pause_and_nothing_else(fault: str, method: str) -> None:
    faults = [fault, fault]
    bench = Bench(lambda called: faults.pop() if called == method and faults else DELIVER)
    bench.coordinator.create()
    await bench.run_updates(3)
    assert bench.applied == [1.0, 1.0, 1.0]
    assert bench.value("chronos_worker_retries_total", reason="UNAVAILABLE") == 2
    pauses = [seconds for seconds in bench.time.slept if seconds < LONG_SECONDS]
    assert len(pauses) == 2
    assert 0.05 <= pauses[0] <= 0.1 <= pauses[1] <= 0.2


async def test_a_commit_whose_answer_was_lost_is_sent_again_as_it_was() -> None:
    faults = [LOSE_ANSWER]
    bench = Bench(lambda method: faults.pop() if method == "commit" and faults else DELIVER)
    bench.coordinator.create()
    await bench.run_updates(1)
    first, second = bench.client.commits
    assert first == second
    assert bench.value("chronos_worker_commits_total", outcome="duplicate") == 1


async def test_a_long_outage_is_waited_for_with_pauses_that_stay_bounded() -> None:
    left = 60
    bench = Bench(max_retry_seconds=2.0)
    bench.coordinator.create()

    def plan(method: str) -> str:
        nonlocal left
        if method == "commit" and left:
            left -= 1
            return LOSE_REQUEST
        return DELIVER

    bench.client.plan = plan
    await bench.run_updates(2)
    assert bench.applied == [1.0, 1.0]
    assert max(seconds for seconds in bench.time.slept if seconds < LONG_SECONDS) <= 2.0


async def test_a_restarted_coordinator_needs_no_registration() -> None:
    bench = Bench()
    bench.coordinator.create()

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        if number == 1:
            bench.coordinator.restart()
        if number == 2:
            bench.worker.stop()

    bench.compute.before = before
    await bench.run()
    assert bench.applied == [1.0, 1.0, 1.0]
    assert bench.client.calls["register"] == 1


@pytest.mark.parametrize("during", ["checkout", "commit"])
async def test_a_worker_that_was_forgotten_registers_again(during: str) -> None:
    bench = Bench()
    bench.coordinator.create()
    forgotten = False

    def plan(method: str) -> str:
        nonlocal forgotten
        if method == during and not forgotten and bench.compute.produced == 2:
            forgotten = True
            bench.coordinator.forget_workers()
        return DELIVER

    bench.client.plan = plan
    await bench.run_updates(3)
    assert bench.applied == [1.0, 1.0, 1.0]
    assert bench.client.calls["register"] == 2


async def test_a_new_incarnation_begins_with_a_clean_chain() -> None:
    bench = Bench()
    bench.coordinator.create()
    forget = bench.coordinator.forget_workers
    lost: list[str] = []

    def plan(method: str) -> str:
        if method == "commit" and bench.compute.produced == 2 and not lost:
            lost.append(method)
            forget()
            bench.coordinator.first_incarnation = 8
        return DELIVER

    bench.client.plan = plan
    await bench.run_updates(4)
    assert bench.applied == [1.0, 0.0, 1.0, 1.0]  # the second one's fate was open: it is declared lost
    assert {record.incarnation for record in bench.coordinator.records("w")} == {1, 8}


async def test_a_damaged_checkout_is_fetched_again_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.coordinator.create()
    checkout, damaged = bench.coordinator.checkout, 0

    def damage(query: Any) -> Any:
        nonlocal damaged
        result = checkout(query)
        if damaged < 2:
            damaged += 1
            object.__setattr__(result, "digest", "00" * 32)
        return result

    monkeypatch.setattr(bench.coordinator, "checkout", damage)
    await bench.run_updates(2)
    assert [query.known for query in bench.client.checkouts][:3] == [None, None, None]
    assert bench.applied == [1.0, 1.0]
    assert bench.value("chronos_worker_retries_total", reason="DIGEST_MISMATCH") == 2


async def test_a_version_that_is_called_unchanged_and_is_not_held_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    bench.coordinator.create()
    checkout, empty = bench.coordinator.checkout, 0

    def leave_out(query: Any) -> Any:
        nonlocal empty
        result = checkout(query)
        if not empty:
            empty += 1
            object.__setattr__(result, "parts", ())
        return result

    monkeypatch.setattr(bench.coordinator, "checkout", leave_out)
    await bench.run_updates(1)
    assert bench.applied == [1.0]
    assert [query.known for query in bench.client.checkouts] == [None, None]


async def test_a_checkout_that_nobody_lets_wait_is_not_asked_for_all_the_time() -> None:
    bench = Bench()
    running = asyncio.create_task(bench.run())
    await bench.client.until("checkout", 8)  # no run yet: the fake answers at once
    assert sum(seconds for seconds in bench.time.slept if seconds < LONG_SECONDS) > 1.0
    bench.coordinator.create()
    bench.stop_at(1)
    await running
    assert bench.applied == [1.0]
