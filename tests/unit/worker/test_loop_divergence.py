"""The worker when the problem fails: updates that are not finite, and exceptions of the user's code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from chronos_common.errors import (
    ChronosError,
    DivergenceError,
    ProblemError,
)
from tests.support.fake_compute import FakeCompute
from tests.support.fake_coordinator import RUN
from tests.support.worker_bench import Bench


async def test_a_diverged_update_is_a_skip_and_starts_afresh() -> None:
    bench = Bench()
    bench.coordinator.create()

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        if number == 1:
            raise DivergenceError("not finite at step 3", step=3)
        if number == 3:
            bench.worker.stop()

    bench.compute.before = before
    await bench.run()
    assert bench.applied == [1.0, 1.0, 1.0]
    assert [record.payload is None for record in bench.coordinator.records("w")] == [
        False,
        True,
        False,
        False,
    ]
    assert [dict(record.metrics).get("diverged") for record in bench.coordinator.records("w")] == [
        None,
        1.0,
        None,
        None,
    ]
    assert [arguments["carry"] is None for arguments in bench.compute.inputs] == [True, False, True, False]
    assert bench.value("chronos_worker_diverged_total") == 1
    assert bench.value("chronos_worker_commits_total", outcome="skipped") == 1


async def test_an_update_that_is_not_finite_is_never_sent() -> None:
    bench = Bench(run_id=RUN, max_failures=2)
    bench.coordinator.create()
    bench.compute.produced = 0

    class Poisoned(FakeCompute):
        def __call__(self, *values: Any, **arguments: Any) -> Any:
            update = super().__call__(*values, **arguments)
            update.gradient["u"][0] = np.nan
            return update

    bench.worker._load = Poisoned().load(bench.time)
    with pytest.raises(ChronosError, match="not finite"):
        await bench.run()
    assert all(query.payload is None for query in bench.client.commits)
    assert len(bench.client.commits) == 1


async def test_a_problem_that_keeps_diverging_is_left() -> None:
    bench = Bench(run_id=RUN, max_failures=3)
    bench.coordinator.create()

    def before(_number: int, _arguments: Mapping[str, Any]) -> None:
        raise DivergenceError("never finite")

    bench.compute.before = before
    with pytest.raises(DivergenceError):
        await bench.run()
    assert len(bench.compute.inputs) == 3
    assert bench.client.left[0] == f"cannot work on run {RUN}: DIVERGED"


async def test_a_run_whose_problem_fails_is_left_with_a_pause_and_tried_again() -> None:
    bench = Bench()
    bench.coordinator.create()

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        if number < 2:
            raise OSError("the data is not mounted")
        bench.worker.stop()

    bench.compute.before = before
    await bench.run()
    assert bench.applied == [1.0]
    assert len(bench.client.left) == 3


async def test_an_exception_of_the_user_s_code_is_reported_with_its_type() -> None:
    bench = Bench(run_id=RUN)
    bench.coordinator.create()

    def before(_number: int, _arguments: Mapping[str, Any]) -> None:
        raise KeyError("images")

    bench.compute.before = before
    with pytest.raises(ProblemError, match="'fake:Problem' raised KeyError: 'images'"):
        await bench.run()
