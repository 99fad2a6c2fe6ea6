"""The worker and the life of runs: not there yet, ended, vanished, or not for this worker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from chronos_common.engine import WorkSpec
from chronos_common.errors import (
    ChronosError,
    ConfigurationError,
    ProblemError,
    ProblemNotAllowedError,
    RunNotFoundError,
)
from chronos_common.versions import PARAMETER_DELTA
from chronos_worker import Worker, WorkerConfig
from tests.support.fake_coordinator import RUN, run_config
from tests.support.fake_time import LONG_SECONDS
from tests.support.worker_bench import DRAIN_SECONDS, Bench


async def test_the_worker_of_one_run_ends_with_it() -> None:
    bench = Bench(run_id=RUN)
    bench.coordinator.create(config=run_config(max_versions=2))
    await bench.run()
    assert bench.applied == [1.0, 1.0]
    assert bench.client.left == ["the worker stops"]


async def test_a_run_that_has_ended_already_ends_its_worker() -> None:
    bench = Bench(run_id=RUN)
    bench.coordinator.create()
    bench.coordinator.engines[RUN].stop("enough")
    await bench.run()
    assert bench.compute.produced == 0


async def test_a_run_stopped_at_work_refuses_the_commit_and_the_worker_looks_for_the_next() -> None:
    bench = Bench()
    bench.coordinator.create("first")

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        if number == 1:
            bench.coordinator.engines["first"].stop("enough")
            bench.coordinator.create("second")
        if number == 2:
            bench.worker.stop()

    bench.compute.before = before
    await bench.run()
    assert list(bench.coordinator.applied("w", "first")[:3]) == [1.0, 0.0, 0.0]
    assert list(bench.coordinator.applied("w", "second")[:3]) == [0.0, 0.0, 1.0]
    assert bench.compute.inputs[2]["carry"] is None


async def test_a_run_that_is_not_there_yet_is_waited_for() -> None:
    bench = Bench(run_id=RUN)
    running = asyncio.create_task(bench.run())
    await bench.client.until("checkout", 3)
    bench.coordinator.create(config=run_config(max_versions=1))
    await running
    assert bench.applied == [1.0]


async def test_a_run_that_vanishes_is_waited_for_too() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.client.errors["commit"] = [RunNotFoundError("gone")]
    bench.client.errors["get_run"] = [RunNotFoundError("gone")]
    await bench.run_updates(2)
    assert bench.applied == [0.0, 1.0]


@pytest.mark.parametrize(
    "error",
    [
        ProblemNotAllowedError("not on the list", problem="x:Y"),
        ProblemError("broken"),
        ConfigurationError("no"),
    ],
)
async def test_a_run_that_cannot_be_worked_on_is_left_and_reported(error: ChronosError) -> None:
    bench = Bench(run_id=RUN)
    bench.coordinator.create()

    def refuse(_work: WorkSpec) -> Any:
        raise error

    bench.worker._load = refuse
    with pytest.raises(type(error)):
        await bench.run()
    assert bench.client.left[0] == f"cannot work on run {RUN}: {error.reason}"
    assert bench.coordinator.engines[RUN].presence.live == ()


async def test_without_a_run_of_its_own_the_worker_waits_instead_of_spinning() -> None:
    bench = Bench()
    bench.coordinator.create()
    load, refusals = bench.worker._load, 6

    def refuse(work: WorkSpec) -> Any:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise ProblemNotAllowedError("not on the list", problem="x:Y")
        return load(work)

    bench.worker._load = refuse
    await bench.run_updates(1)
    assert bench.applied == [1.0]
    pauses = [seconds for seconds in bench.time.slept if seconds < LONG_SECONDS]
    assert len(pauses) == 6
    assert pauses[-1] > 8 * pauses[0]


@pytest.mark.parametrize(
    "work",
    [WorkSpec(problem=""), WorkSpec(problem="fake:Problem", kind=PARAMETER_DELTA)],
    ids=["no problem", "delta"],
)
async def test_work_that_no_worker_of_this_kind_can_do_is_refused(work: WorkSpec) -> None:
    bench = Bench(run_id=RUN)
    bench.worker = Worker(
        bench.worker.config,
        connect=lambda: bench.client,
        clock=bench.time.clock,
        sleep=bench.time.sleep,
    )
    bench.coordinator.create(config=run_config(work=work))
    with pytest.raises(ConfigurationError):
        await bench.run()


async def test_the_allow_list_of_the_configuration_decides() -> None:
    bench = Bench(run_id=RUN)
    bench.worker = Worker(
        WorkerConfig(worker_id="w", run_id=RUN, problems=("mine.*",), drain_seconds=DRAIN_SECONDS),
        connect=lambda: bench.client,
        clock=bench.time.clock,
        sleep=bench.time.sleep,
    )
    bench.coordinator.create()
    with pytest.raises(ProblemNotAllowedError, match="'fake:Problem' is not on this worker's allow-list"):
        await bench.run()
