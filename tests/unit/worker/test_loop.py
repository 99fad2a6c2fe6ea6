"""The worker when all goes well: what it computes on, what it commits, what it keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from chronos_common.engine import WorkSpec
from tests.support.fake_coordinator import RUN, run_config
from tests.support.worker_bench import Bench


async def test_every_update_is_committed_once_and_the_lease_is_returned() -> None:
    bench = Bench()
    bench.coordinator.create()
    await bench.run_updates(3)
    assert bench.applied == [1.0, 1.0, 1.0]
    assert bench.coordinator.engines[RUN].state.version == 3
    assert bench.client.left == ["the worker stops"]
    assert bench.client.closed
    assert bench.value("chronos_worker_commits_total", outcome="accepted") == 3


async def test_a_commit_says_what_was_done() -> None:
    bench = Bench()
    bench.coordinator.create()
    bench.compute.work = 0.25
    await bench.run_updates(1)
    [record] = bench.coordinator.records("w")
    assert (record.work, record.samples, record.tasks, record.base, record.seq) == (0.25, 7, 1, 0, 1)
    assert record.metrics == {"outer_loss": 0.5}  # what is not finite is left out
    assert set(record.timing) <= {"compute", "wait", "communication"}
    assert bench.value("chronos_worker_cut_short_total") == 1


async def test_the_inner_problem_goes_on_from_where_it_was() -> None:
    bench = Bench()
    bench.coordinator.create()
    await bench.run_updates(3)
    first, second, third = bench.compute.inputs
    assert first["carry"] is None
    assert second["carry"].next_step == 0
    assert (second["base_version"], third["base_version"]) == (1, 2)
    assert first["num_inner_steps"] == 10
    np.testing.assert_array_equal(second["stored"]["u"][:2], [-1.0, 0.0])


async def test_problems_are_evaluated_every_so_many_versions() -> None:
    bench = Bench()
    bench.coordinator.create(config=run_config(work=WorkSpec(problem="fake:Problem", evaluate_every=2)))
    await bench.run_updates(4)
    assert [arguments["evaluate"] for arguments in bench.compute.inputs] == [True, False, True, False]


async def test_an_unchanged_version_is_not_fetched_again_and_may_be_worked_on_again() -> None:
    bench = Bench()
    # A second member keeps the round open: one commit does not make a version.
    bench.coordinator.create(config=run_config(rounds=run_config().rounds.__class__(quorum=2)))
    bench.coordinator.register("other", "i")
    bench.coordinator.engines[RUN].checkout(_query("other"), bench.time.now)
    await bench.run_updates(2)
    assert [query.known for query in bench.client.checkouts] == [None, 0]
    assert [arguments["base_version"] for arguments in bench.compute.inputs] == [0, 0]
    assert bench.applied == [1.0, 1.0]


def _query(worker_id: str) -> Any:
    from chronos_common.engine import CheckoutQuery

    return CheckoutQuery(run_id=RUN, worker_id=worker_id, incarnation=1)
