"""A member and the coordinator of a clan are killed in mid-round: training goes on, nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from chronos_common.clan.views import ClanView
from chronos_common.runtime import ManagedProcess, child_environment
from chronos_common.wire import CoordinatorClient
from tests.support.clan_worker import DEFINITION, SIZE, STEPS
from tests.support.clients import BUDGET, FLEET
from tests.support.coordinator_process import CoordinatorProcess, coordinator_process
from tests.support.polling import poll_async

pytestmark = [pytest.mark.process, pytest.mark.slow]

CLAN = "clan"


def worker(coordinator: CoordinatorProcess, name: str, folder: Path) -> ManagedProcess:
    process = ManagedProcess(
        [sys.executable, "-m", "tests.support.clan_worker", coordinator.address, CLAN, name, str(folder)],
        name=name,
        env=child_environment(threads=1),
    )
    process.start()
    return process


def acknowledged(folder: Path) -> dict[tuple[str, int], float]:
    """Fitness by worker and round, of which workers know that it was taken."""
    found = {}
    for path in folder.glob("*.reports"):
        for line in path.read_text().splitlines():
            number, loss = line.split()
            found[path.stem, int(number)] = float(loss)
    return found


async def test_training_goes_on_whoever_is_killed_in_mid_round(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with coordinator_process(tmp_path / "store") as coordinator:
        async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
            await client.create_clan(CLAN, DEFINITION)
            workers = {name: worker(coordinator, name, folder) for name in "abcde"}
            for name in "abcd":
                (folder / f"{name}.go").touch()

            async def running(number: int) -> ClanView | None:
                view = await client.describe_clan(CLAN)
                return view if view.round >= number and view.running else None

            async def reached(number: int, what: str) -> int:
                view = await poll_async(lambda: running(number), what, timeout_seconds=60.0)
                assert view is not None
                return view.round

            async def names(*wanted: str) -> bool:
                view = await client.describe_clan(CLAN)
                return sorted(one.worker_id for one in view.members if one.worker_id) == sorted(wanted)

            await reached(2, "two rounds")
            workers.pop("b").kill()
            killed = time.monotonic()
            await poll_async(lambda: names("a", "c", "d"), "the dead one is out", timeout_seconds=30.0)
            without = (await client.describe_clan(CLAN)).round
            await reached(without + 1, "the next round")
            paused = time.monotonic() - killed
            (folder / "e.go").touch()
            await poll_async(
                lambda: names("a", "c", "d", "e"), "another one takes the place", timeout_seconds=30.0
            )
            number = (await client.describe_clan(CLAN)).round
            number = await reached(number + 1, "a round of the new four")
            told = acknowledged(folder)
            await asyncio.to_thread(coordinator.restart)
            await client.wait_until_serving(20.0)
            assert (await client.describe_clan(CLAN)).round >= number
            codes = [await asyncio.to_thread(process.wait, 60.0) for process in workers.values()]
            view = await client.describe_clan(CLAN)
            history = await client.clan_history(CLAN)
            report = await client.verify_clan(CLAN)
    assert codes == [0] * SIZE
    assert view.finished
    # Heartbeats end FLEET.timeout_seconds after the kill; what remains is the rest of a round, on a busy machine.
    assert paused < FLEET.timeout_seconds + 8.0
    assert (report.clean, report.problem) == (True, "")
    assert [record.number for record in history] == list(range(view.round + 1))
    assert sum(record.steps for record in history) == STEPS
    taken = {(one.worker, record.number): one.fitness for record in history for one in record.members}
    assert told
    for key, loss in acknowledged(folder).items():
        assert taken[key] == loss
    best = [min(one.fitness for one in record.members) for record in history]
    assert best[-1] < 0.5 * best[0]
    crowds = [len(record.members) for record in history]
    assert max(crowds) == SIZE
    assert crowds[without] < SIZE
