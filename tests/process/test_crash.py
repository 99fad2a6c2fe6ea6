"""Processes die without warning, again and again: nothing acknowledged is lost, nothing is applied twice."""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from chronos_common.codec import encode
from chronos_common.engine import ACTIVE, FINISHED, CommitRecord, RunConfig, WorkSpec, verify
from chronos_common.engine.local import describe_run
from chronos_common.outer import OuterConfig
from chronos_common.runtime import ManagedProcess, child_environment
from chronos_common.store import StreamKey, open_store, to_event
from chronos_common.versions import LeaseConfig, RoundConfig
from chronos_common.wire import CoordinatorClient
from tests.support.clients import BUDGET, Committer, committers
from tests.support.coordinator_process import CoordinatorProcess, coordinator_process
from tests.support.polling import poll_async
from tests.support.problems import Ridge
from tests.support.serving import RUN, payload, run_config, value_of

pytestmark = [pytest.mark.process, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
LEASES = LeaseConfig(initial_seconds=0.3, min_seconds=0.3, max_seconds=0.3)


def definition(max_versions: int) -> RunConfig:
    # A small rate: with bounds on nothing the values of all versions stay representable exactly enough.
    return run_config(quorum=2, max_versions=max_versions, leases=LEASES, learning_rate=1e-3)


def accepted(store: Path) -> list[CommitRecord]:
    """What the journal says; it must replay."""
    opened = open_store(store, read_only=True)
    try:
        events = [to_event(entry) for entry in opened.entries(StreamKey.of_run(RUN))]
    finally:
        opened.close()
    report = verify(events)
    assert report.clean, report.problem
    return [event for event in events if isinstance(event, CommitRecord)]


def check_ledger(store: Path, workers: list[Committer]) -> None:
    """The clients' logs against the journal."""
    journal = accepted(store)
    by_commit = {(c.worker_id, c.incarnation, c.seq): c for c in journal}
    assert len(by_commit) == len(journal)
    applied = [(c.worker_id, value_of(c.payload)) for c in journal]
    assert len(set(applied)) == len(applied), "a value was applied twice"
    assert set(applied) <= {(w.worker_id, value) for w in workers for value in w.sent}
    for worker in workers:
        for seq, (incarnation, base, value) in worker.log.items():
            record = by_commit[worker.worker_id, incarnation, seq]
            assert (record.base, value_of(record.payload)) == (base, value)


async def reach(client: CoordinatorClient, version: int) -> None:
    """Returns when a run has come so far."""

    async def reached() -> bool:
        return (await client.get_run(RUN)).version >= version

    await poll_async(reached, f"version {version}", timeout_seconds=60.0)


@pytest.mark.parametrize("seed", range(3))
async def test_a_killed_coordinator_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    with coordinator_process(tmp_path) as coordinator:
        async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
            await client.create_run(definition(60), payload(), run_id=RUN)
            async with committers(coordinator.address, ["w1", "w2", "w3", "w4"]) as workers:
                working = asyncio.gather(*(worker.work_until_the_end() for worker in workers))
                for version in sorted(moments.sample(range(2, 50), 2)):
                    await reach(client, version)
                    await asyncio.sleep(moments.random() * 0.01)  # anywhere in a commit, not for its duration
                    await asyncio.to_thread(coordinator.restart)
                async with asyncio.timeout(30.0):
                    await working
            view = await client.get_run(RUN)
            assert (view.status, view.version) == (FINISHED, 60)
            assert (await client.verify_run(RUN)).clean
        check_ledger(tmp_path, workers)
        assert view.accepted == len(accepted(tmp_path))


async def test_workers_that_die_or_hang_hold_nobody_up_and_their_successors_go_on(tmp_path: Path) -> None:
    with coordinator_process(tmp_path) as coordinator:
        async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
            await client.create_run(definition(40), payload(), run_id=RUN)
            everybody: list[Committer] = []
            async with committers(coordinator.address, ["w1", "w2", "w3"]) as workers:
                everybody += workers
                tasks = [asyncio.create_task(worker.work_until_the_end()) for worker in workers]
                for at, index in ((8, 0), (16, 1)):
                    await reach(client, at)
                    tasks[index].cancel()
                    await asyncio.gather(tasks[index], return_exceptions=True)
                    old = workers[index]
                    await reach(client, at + 4)  # the others go on
                    successor = Committer(client, worker_id=old.worker_id, instance="instance-2")
                    everybody.append(await successor.register())
                    assert successor.incarnation == 2
                    first = int(max(old.sent, default=0.0)) + 1
                    tasks[index] = asyncio.create_task(successor.work_until_the_end(first))
                async with asyncio.timeout(30.0):
                    await asyncio.gather(*tasks)
            assert (await client.get_run(RUN)).status == FINISHED
        check_ledger(tmp_path, everybody)


def worker_process(coordinator: CoordinatorProcess, name: str) -> ManagedProcess:
    argv = [sys.executable, "-m", "chronos_worker", f"--coordinator={coordinator.address}"]
    argv += [
        f"--worker-id={name}",
        f"--run={RUN}",
        "--problem=tests.support.problems:*",
        "--metrics-port=none",
    ]
    argv += [
        f"--deadlines-budget-seconds={BUDGET.budget_seconds}",
        "--max-retry-seconds=0.2",
        "--log-format=json",
    ]
    return ManagedProcess(argv, name=name, cwd=ROOT, env=child_environment(threads=1))


@pytest.mark.timeout(120)
async def test_real_workers_finish_a_run_through_the_death_of_both_sides(tmp_path: Path) -> None:
    work = WorkSpec(problem="tests.support.problems:Ridge", estimator="implicit", inner_steps=20)
    outer = OuterConfig(name="adam", learning_rate=0.05)
    config, start = describe_run(
        Ridge(), work=work, outer=outer, rounds=RoundConfig(quorum=2), leases=LEASES, max_versions=60
    )
    with ExitStack() as stack:
        coordinator = stack.enter_context(coordinator_process(tmp_path))
        async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
            await client.create_run(config, encode("identity", start), run_id=RUN)
            workers = [stack.enter_context(worker_process(coordinator, f"w{i}")) for i in range(3)]
            await reach(client, 5)
            await asyncio.to_thread(workers[0].kill)
            await reach(client, 15)  # without w0
            await asyncio.to_thread(coordinator.restart)
            await reach(client, 20)
            workers.append(stack.enter_context(worker_process(coordinator, "w0")))
            await poll_async(lambda: _ended(client), "the end", timeout_seconds=60.0)
            view = await client.get_run(RUN)
            assert (view.status, view.version) == (FINISHED, 60)
            assert view.metrics["outer_loss"] > 0.0
            assert (await client.verify_run(RUN)).clean
            assert all(worker.returncode is None or worker.returncode == 0 for worker in workers[1:])
    assert len({(c.worker_id, c.incarnation, c.seq) for c in accepted(tmp_path)}) == view.accepted


async def _ended(client: CoordinatorClient) -> bool:
    return (await client.get_run(RUN)).status != ACTIVE
