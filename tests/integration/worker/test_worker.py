"""Real workers and a real coordinator over gRPC, in one process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chronos_common.codec import decode, encode
from chronos_common.engine import FINISHED, RunView, WorkSpec
from chronos_common.engine.local import describe_run, optimize
from chronos_common.errors import IncarnationSupersededError, ProblemNotAllowedError
from chronos_common.outer import OuterConfig
from chronos_common.versions import RoundConfig
from chronos_common.wire import CoordinatorClient, SyncCoordinatorClient
from chronos_coordinator import EmbeddedCoordinator
from tests.support.polling import poll_async
from tests.support.problems import Ridge
from tests.support.services import LEASES, RUN, serving, settings, worker

PROBLEM = "tests.support.problems:Ridge"
OUTER = OuterConfig(name="adam", learning_rate=0.1)
VERSIONS = 25
STEPS = 20


async def create(
    client: CoordinatorClient, *, versions: int = VERSIONS, problem: str = PROBLEM, **changes: Any
) -> RunView:
    work = WorkSpec(problem=problem, estimator="implicit", inner_steps=STEPS)
    rules: dict[str, Any] = {"rounds": RoundConfig(quorum=1), "leases": LEASES} | changes
    config, start = describe_run(Ridge(), work=work, outer=OUTER, max_versions=versions, **rules)
    return await client.create_run(config, encode("identity", start), run_id=RUN)


async def final(client: CoordinatorClient) -> dict[str, Any]:
    result = await client.checkout(RUN)
    assert result.snapshot is not None
    return dict(decode(result.snapshot))


@pytest.mark.timeout(60)
async def test_one_worker_equals_the_single_process_loop(tmp_path: Path) -> None:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        await create(client)
        await worker(app.address).run()
        served, view = await final(client), await client.get_run(RUN)
        report = await client.verify_run(RUN)
    local = optimize(Ridge(), outer=OUTER, versions=VERSIONS, inner_steps=STEPS)
    np.testing.assert_allclose(served["decay"], local.stored["decay"], rtol=1e-12, atol=0.0)
    assert (view.status, view.accepted, view.refused) == (FINISHED, VERSIONS, 0)
    assert view.metrics["outer_loss"] == pytest.approx(local.metrics["outer_loss"], rel=1e-9)
    assert view.workers[0].compute_seconds > 0.0
    assert report.clean


@pytest.mark.timeout(60)
async def test_three_workers_reach_the_optimum_that_one_reaches(tmp_path: Path) -> None:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        await create(client, versions=120, rounds=RoundConfig())
        await asyncio.gather(*(worker(app.address, name).run() for name in ("a", "b", "c")))
        view = await client.get_run(RUN)
    local = optimize(Ridge(), outer=OUTER, versions=120, inner_steps=STEPS)
    assert view.status == FINISHED
    assert {member.worker_id for member in view.workers} == {"a", "b", "c"}
    assert max(view.staleness) <= 2
    first = local.history[0].metrics["outer_loss"]
    gained, possible = first - view.metrics["outer_loss"], first - local.metrics["outer_loss"]
    assert gained > 0.95 * possible


@pytest.mark.timeout(60)
async def test_workers_go_on_after_the_coordinator_came_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        address = app.address
        async with CoordinatorClient(address) as client:
            await create(client)
            working = asyncio.create_task(worker(address).run())
            async for update in client.watch_run(RUN):
                if update.record is not None and update.record.version >= 5:
                    break
    async with serving(tmp_path, int(address.rpartition(":")[2])), CoordinatorClient(address) as client:
        await working
        served, view = await final(client), await client.get_run(RUN)
    local = optimize(Ridge(), outer=OUTER, versions=VERSIONS, inner_steps=STEPS)
    np.testing.assert_allclose(served["decay"], local.stored["decay"], rtol=1e-12, atol=0.0)
    assert [member.incarnation for member in view.workers] == [1]


@pytest.mark.timeout(60)
async def test_a_second_process_of_a_worker_supersedes_the_first(tmp_path: Path) -> None:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        await create(client, versions=0)
        first = asyncio.create_task(worker(app.address).run())
        async for update in client.watch_run(RUN):
            if update.record is not None:
                break
        second = worker(app.address)
        working = asyncio.create_task(second.run())
        with pytest.raises(IncarnationSupersededError, match="newer process owns this worker id"):
            await first

        async def taken_over() -> bool:
            return (await client.get_run(RUN)).workers[0].incarnation == 2

        await poll_async(taken_over, "a commit of the second process")
        second.stop()
        await working
        assert (await client.verify_run(RUN)).clean


@pytest.mark.timeout(60)
async def test_a_problem_outside_the_allow_list_is_refused_and_the_run_is_left(tmp_path: Path) -> None:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        await create(client)
        with pytest.raises(ProblemNotAllowedError, match="allow-list"):
            await worker(app.address, problems=("elsewhere.*",)).run()
        [member] = (await client.get_run(RUN)).workers
        assert not member.live


@pytest.mark.timeout(60)
def test_workers_in_threads_of_a_script(tmp_path: Path) -> None:
    with (
        EmbeddedCoordinator(settings=settings(tmp_path)) as coordinator,
        SyncCoordinatorClient(coordinator.address) as client,
        worker(coordinator.address, "a", run_id="") as first,
        worker(coordinator.address, "b", run_id=""),
    ):
        assert not first.join(0.01)
        config, start = describe_run(
            Ridge(),
            work=WorkSpec(problem=PROBLEM, estimator="implicit", inner_steps=STEPS),
            max_versions=10,
        )
        client.create_run(config, encode("identity", start), run_id=RUN)
        versions = [update.record.version for update in client.watch_run(RUN) if update.record is not None]
        assert versions == list(range(1, 11))
    assert first.join()


@pytest.mark.timeout(60)
def test_a_worker_in_a_thread_raises_its_error_when_it_is_joined(tmp_path: Path) -> None:
    with (
        EmbeddedCoordinator(settings=settings(tmp_path)) as coordinator,
        SyncCoordinatorClient(coordinator.address) as client,
    ):
        config, start = describe_run(Ridge(), work=WorkSpec(problem=PROBLEM, inner_steps=1))
        client.create_run(config, encode("identity", start), run_id=RUN)
        refused = worker(coordinator.address, problems=())
        with pytest.raises(ProblemNotAllowedError):
            refused.start().join()
        with pytest.raises(Exception, match="started already"):
            refused.start()
    assert worker("127.0.0.1:1").join()  # never started
