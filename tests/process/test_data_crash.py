"""Workers that read through loaders, and their coordinator, are killed in mid-epoch.

Every sample is finished exactly once.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest

from chronos_common.data.views import DataView
from chronos_common.runtime import ManagedProcess, child_environment
from chronos_common.wire import CoordinatorClient
from tests.support.clients import BUDGET
from tests.support.coordinator_process import CoordinatorProcess, coordinator_process
from tests.support.data_worker import CONFIG, SAMPLES
from tests.support.polling import poll_async

pytestmark = [pytest.mark.process, pytest.mark.slow]

PLAN = "plan"


def worker(coordinator: CoordinatorProcess, name: str, rank: int, folder: Path) -> ManagedProcess:
    arguments = (coordinator.address, PLAN, name, str(rank), str(folder / name))
    process = ManagedProcess(
        [sys.executable, "-m", "tests.support.data_worker", *arguments],
        name=name,
        env=child_environment(threads=1),
    )
    process.start()
    return process


def tails(workers: dict[str, ManagedProcess]) -> str:
    """What they said last."""
    return "\n\n".join(f"{name}: {process.tail}" for name, process in workers.items())


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
            workers = {name: worker(coordinator, name, rank, folder) for rank, name in enumerate("abc")}
            (folder / "a.go").touch()
            (folder / "b.go").touch()

            async def reached(count: int) -> DataView | None:
                view = await client.describe_data(PLAN)
                return view if view.epoch or view.finished >= count else None

            async def members_are(*names: str) -> bool:
                assert not any(process.returncode for process in workers.values()), tails(workers)
                view = await client.describe_data(PLAN)
                return tuple(member.worker_id for member in view.members) == names

            await poll_async(lambda: reached(50), "fifty samples", timeout_seconds=60.0)
            workers.pop("b").kill()
            (folder / "c.go").touch()
            await poll_async(
                lambda: members_are("a", "c"), "one is out, another one in", timeout_seconds=60.0
            )
            await asyncio.to_thread(coordinator.restart)
            await client.wait_until_serving(20.0)
            codes = [await asyncio.to_thread(process.wait, 60.0) for process in workers.values()]
            view = await client.describe_data(PLAN)
    assert codes == [0, 0], tails(workers)
    assert (view.epoch, view.finished, view.open, view.returned, view.over) == (1, SAMPLES, 0, 0, True)
    for epoch in range(2):
        counted = finished(folder, epoch)
        # A worker that is killed between the answer and its line has finished samples that it told nobody of.
        assert max(counted.values()) == 1
        assert counted.total() >= SAMPLES - (20 if epoch == 0 else 0)
    assert finished(folder, 1) == Counter(range(SAMPLES))
    assert (folder / "c").read_text()
