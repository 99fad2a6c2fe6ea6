"""What lies in a state directory that nobody needs, and what only looks like it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chronos_worker.state_directory import StateDirectory
from tests.support.fake_coordinator import RUN
from tests.support.mortal import AFTER_ANSWER, Mortal
from tests.support.worker_bench import Bench
from tests.unit.worker.test_durability import run_of


def files(mortal: Mortal) -> list[str]:
    return sorted(path.suffix for path in mortal.directory.path.iterdir() if path.name != "lock")


async def passes_by(mortal: Mortal) -> None:
    """The worker starts, finds nothing to do, and stops."""
    mortal.coordinator.engines[RUN].stop("over")
    bench = Bench(state_dir=mortal.folder)
    bench.coordinator = bench.client.coordinator = mortal.coordinator
    running = asyncio.create_task(bench.run())
    await bench.client.until("checkout", 1)
    bench.worker.stop()
    await running


async def test_what_is_owed_to_a_run_of_that_name_elsewhere_outlives_the_end_of_this_one(
    tmp_path: Path,
) -> None:
    """A worker that was pointed at another coordinator for a while."""
    mortal = Mortal(tmp_path, run_of("topk5"))
    await asyncio.to_thread(mortal.live, 2, AFTER_ANSWER)
    mortal.coordinator.created_at = 5.0
    await passes_by(mortal)
    assert files(mortal) == [".outbox", ".theta"]


async def test_a_warm_start_alone_is_removed_with_its_run(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path, run_of("topk5"))
    await asyncio.to_thread(mortal.live, 2, AFTER_ANSWER)
    mortal.directory.remove(RUN, "outbox")
    await passes_by(mortal)
    assert files(mortal) == []


def test_what_a_crash_left_half_written_is_removed_at_the_next_start(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path, "w")
    directory.open()
    directory.write(RUN, "outbox", b"whole")
    directory.close()
    [path] = directory.path.glob("*.outbox")
    path.with_name(f"{path.name}.writing").write_bytes(b"tor")
    successor = StateDirectory(tmp_path, "w")
    successor.open()
    assert [found.name for found in directory.path.glob("*.*")] == [path.name]
    assert successor.read(RUN, "outbox") == b"whole"
    successor.close()
