"""Workers and the coordinator of a data plan are killed in mid-epoch: every sample is finished exactly once."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from chronos_common.data import PlanConfig
from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.views import DataView
from chronos_common.runtime import ManagedProcess, child_environment
from chronos_common.wire import CoordinatorClient
from tests.support.clients import BUDGET
from tests.support.coordinator_process import CoordinatorProcess, coordinator_process
from tests.support.polling import poll_async

pytestmark = [pytest.mark.process, pytest.mark.slow]

PLAN = "plan"
SAMPLES = 600
CONFIG = DataPlanConfig(samples=SAMPLES, plan=PlanConfig(batch_size=10, workers=2), workers=2, lookahead=3)


def worker(coordinator: CoordinatorProcess, name: str, rank: int, folder: Path) -> ManagedProcess:
    arguments = (coordinator.address, PLAN, name, str(rank), str(folder / name))
    process = ManagedProcess(
        [sys.executable, "-m", "tests.support.data_worker", *arguments],
        name=name,
        env=child_environment(threads=1),
    )
    process.start()
    return process


def finished(folder: Path, epoch: int) -> Counter[int]:
    """Samples that workers know to count."""
    lines = [line.split() for path in folder.glob("[abc]") for line in path.read_text().splitlines()]
    return Counter(int(sample) for line in lines if int(line[0]) == epoch for sample in line[2:])


async def test_every_sample_counts_once_whoever_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with coordinator_process(tmp_path / "store") as coordinator:
        async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
            await client.create_data_plan(PLAN, CONFIG)
            for begin in range(0, SAMPLES, 100):
                await client.upload_sizes(PLAN, begin, np.linspace(1.0, 9.0, 100))
            workers = {name: worker(coordinator, name, rank, folder) for rank, name in enumerate("abc")}
            (folder / "a.go").touch()
            (folder / "b.go").touch()

            async def reached(count: int) -> DataView | None:
                view = await client.describe_data(PLAN)
                return view if view.epoch or view.finished >= count else None

            async def members_are(*names: str) -> bool:
                view = await client.describe_data(PLAN)
                return tuple(member.worker_id for member in view.members) == names

            await poll_async(lambda: reached(50), "fifty samples", timeout_seconds=60.0)
            workers.pop("b").kill()
            (folder / "c.go").touch()
            await poll_async(lambda: members_are("a", "c"), "the dead one is out, and another one in")
            await asyncio.to_thread(coordinator.restart)
            await client.wait_until_serving(20.0)
            codes = [await asyncio.to_thread(process.wait, 60.0) for process in workers.values()]
            view = await client.describe_data(PLAN)
    assert codes == [0, 0]
    assert (view.epoch, view.finished, view.open, view.returned, view.over) == (1, SAMPLES, 0, 0, True)
    for epoch in range(2):
        counted = finished(folder, epoch)
        # A worker that is killed between the answer and its line has finished samples that it told nobody of.
        assert max(counted.values()) == 1
        assert counted.total() >= SAMPLES - (20 if epoch == 0 else 0)
    assert finished(folder, 1) == Counter(range(SAMPLES))
    assert (folder / "c").read_text()
