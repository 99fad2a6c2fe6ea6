"""Real workers under ``pacing=predicted``: what a probe is worth, shares, stragglers, deadlines by one's own time."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from chronos_common.codec import encode
from chronos_common.engine import CommitRecord, WorkerView, WorkSpec
from chronos_common.engine.events import from_parts
from chronos_common.engine.local import describe_run
from chronos_common.outer import OuterConfig
from chronos_common.prediction.machine import Machine
from chronos_common.runtime import ManagedProcess, child_environment
from chronos_common.store import StreamKey, open_store
from chronos_common.versions import LeaseConfig, RoundConfig
from chronos_common.wire import CoordinatorClient
from tests.support.clients import BUDGET
from tests.support.coordinator_process import CoordinatorProcess, coordinator_process
from tests.support.paced_problem import VARIABLE, Paced
from tests.support.polling import poll_async
from tests.support.serving import RUN

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
STEPS = 16
FAST = 0.01
TIMES_SLOWER = 4
NEVER = 600.0
"""Seconds that only a deadline by prediction comes before."""
ROUNDS = RoundConfig(quorum=1, grace_seconds=NEVER / 2, once_per_version=True, pacing="predicted")
LEASES = LeaseConfig(initial_seconds=NEVER, min_seconds=1.0, max_seconds=NEVER)

PROBED = Machine(
    label="cpu",
    matmul_tflops={"float32": 0.4},
    bandwidth_gb_per_second=40.0,
    launch_microseconds=2.0,
    memory_gb=8.0,
    loading_samples_per_second=1e4,
    loading_gb_per_second=2.0,
)
SLOWER = replace(
    PROBED,
    matmul_tflops={"float32": 0.4 / TIMES_SLOWER},
    bandwidth_gb_per_second=40.0 / TIMES_SLOWER,
    launch_microseconds=2.0 * TIMES_SLOWER,
)


class Cluster:
    """A coordinator process, workers with a speed file and a probed machine each, and what they are seen to do."""

    def __init__(self, coordinator: CoordinatorProcess, client: CoordinatorClient, folder: Path) -> None:
        self._coordinator = coordinator
        self._client = client
        self._folder = folder

    def speed(self, name: str, step_seconds: float) -> None:
        """From its next inner step on."""
        (self._folder / f"{name}.step").write_text(str(step_seconds))

    def worker(self, name: str, machine: Machine, step_seconds: float) -> ManagedProcess:
        """A worker process, to be entered."""
        self.speed(name, step_seconds)
        probed = self._folder / f"{name}.machine.json"
        probed.write_text(json.dumps(machine.to_json()))
        argv = [sys.executable, "-m", "chronos_worker", f"--coordinator={self._coordinator.address}"]
        argv += [f"--worker-id={name}", f"--run={RUN}", "--problem=tests.support.paced_problem:*"]
        argv += [f"--machine={probed}", f"--deadlines-budget-seconds={BUDGET.budget_seconds}"]
        argv += ["--metrics-port=none", "--log-format=json"]
        env = {**child_environment(threads=1), VARIABLE: str(self._folder / f"{name}.step")}
        return ManagedProcess(argv, name=name, cwd=ROOT, env=env)

    async def view(self, name: str) -> WorkerView | None:
        """A worker as the run sees it."""
        views = (await self._client.get_run(RUN)).workers
        return next((view for view in views if view.worker_id == name), None)

    async def version(self) -> int:
        """The run's."""
        return (await self._client.get_run(RUN)).version

    async def loops(self, name: str, count: int) -> WorkerView:
        """When a worker has committed so often."""

        async def reached() -> WorkerView | None:
            view = await self.view(name)
            return view if view is not None and view.accepted >= count else None

        found = await poll_async(reached, f"{count} loops of {name}", timeout_seconds=60.0)
        assert found is not None
        return found

    async def straggling(self, name: str) -> None:
        """When a worker is marked."""

        async def marked() -> bool:
            view = await self.view(name)
            return view is not None and view.straggling

        await poll_async(marked, f"{name} is a straggler", timeout_seconds=60.0)

    def works(self, name: str) -> list[float]:
        """Shares of the inner loop that a worker's commits were of, from the journal."""
        store = open_store(self._folder / "store", read_only=True)
        try:
            entries = store.entries(StreamKey.of_run(RUN))
            events = [from_parts(entry.kind, entry.meta, entry.payload) for entry in entries]
        finally:
            store.close()
        return [event.work for event in events if isinstance(event, CommitRecord) and event.worker_id == name]


@pytest.mark.timeout(240)
async def test_work_leases_and_marks_follow_each_worker_s_own_time(tmp_path: Path) -> None:
    work = WorkSpec(problem="tests.support.paced_problem:Paced", estimator="implicit", inner_steps=STEPS)
    config, start = describe_run(
        Paced(), work=work, outer=OuterConfig(name="sgd", learning_rate=1e-3), rounds=ROUNDS, leases=LEASES
    )
    with ExitStack() as stack:
        coordinator = stack.enter_context(coordinator_process(tmp_path / "store"))
        async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
            cluster = Cluster(coordinator, client, tmp_path)
            await client.create_run(config, encode("identity", start), run_id=RUN)
            stack.enter_context(cluster.worker("fast", PROBED, FAST))
            await cluster.loops("fast", 3)
            stack.enter_context(cluster.worker("slow", SLOWER, TIMES_SLOWER * FAST))
            slow, fast = await cluster.loops("slow", 10), await cluster.loops("fast", 10)
            # Both take about as long, for shares of the loop that follow their speeds.
            assert 0.5 < slow.actual_seconds / fast.actual_seconds < 2.0
            assert slow.next_seconds[0] < slow.next_seconds[1] < 60.0

            # The fast one is as slow now as the other always was, and is marked all the same.
            cluster.speed("fast", 6 * TIMES_SLOWER * FAST)
            await cluster.straggling("fast")
            cluster.speed("fast", FAST)

            # One that hangs is waited for until its own p95 is over, not for a grace of minutes.
            cluster.speed("slow", 30.0)
            before = await cluster.version()

            async def goes_on() -> bool:
                return await cluster.version() >= before + 3

            await poll_async(goes_on, "versions without the one that hangs", timeout_seconds=60.0)
        await asyncio.to_thread(coordinator.process.stop)
        works = cluster.works("slow")
    # The probe alone told how much the newcomer's very first share should be.
    assert works[0] == pytest.approx(1 / TIMES_SLOWER, abs=0.1)
    assert 1 / 16 <= sorted(works)[len(works) // 2] < 0.6
    assert cluster.works("fast")[:3] == [1.0, 1.0, 1.0]
