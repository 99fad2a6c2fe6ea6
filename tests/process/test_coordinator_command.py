"""``chronos-coordinator`` as a process: readiness, exit codes, one line for what cannot work, drain."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from pathlib import Path

import pytest

from chronos_common.errors import ChronosError, DrainingError, ProcessError, UnavailableError
from chronos_common.wire import CoordinatorClient
from chronos_coordinator.app import FENCED
from tests.support.clients import BUDGET, Committer
from tests.support.coordinator_process import CoordinatorProcess, coordinator_process
from tests.support.polling import poll_async
from tests.support.serving import RUN, payload, run_config

pytestmark = pytest.mark.process


def refused(broken: CoordinatorProcess) -> tuple[int, str]:
    """Exit code and output of a coordinator that cannot serve."""
    with broken.process as process, pytest.raises(ProcessError, match="ended before it was ready"):
        process.wait_ready(30.0)
    code = broken.process.returncode
    assert code is not None
    return code, broken.process.tail


def one_error(tail: str) -> str:
    """The only line for people; what else there is are structured log lines."""
    [line] = [line for line in tail.splitlines() if not line.startswith("{")]
    assert "Traceback" not in tail
    return line


def test_what_cannot_work_is_one_line_that_says_why(tmp_path: Path) -> None:
    with coordinator_process(tmp_path / "store") as running:
        code, tail = refused(CoordinatorProcess(tmp_path / "other", port=running.port))
        assert code == 1
        assert "another process uses this port" in one_error(tail)
        code, tail = refused(CoordinatorProcess(tmp_path / "store"))
        assert code == 1
        assert f"(process {running.process.pid})" in one_error(tail)
    code, tail = refused(CoordinatorProcess(Path("/proc/nowhere")))
    assert code == 1
    assert "/proc/nowhere" in one_error(tail)
    code, tail = refused(CoordinatorProcess(tmp_path, port=70_000))
    assert code == 2
    assert "70000" in tail
    assert "Traceback" not in tail


async def test_sigterm_answers_who_waits_finishes_what_it_took_and_exits_with_0(tmp_path: Path) -> None:
    with coordinator_process(tmp_path) as coordinator:
        async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
            await client.create_run(run_config(), payload(), run_id=RUN)
            worker = await Committer(client).register()
            await worker.checkout()
            await worker.commit(0)
            waiting = asyncio.create_task(client.checkout(RUN, min_version=9, wait_seconds=60.0))
            updates = client.watch_run(RUN, give_up_seconds=0.0)
            first = [await anext(updates), await anext(updates)]
            assert first[-1].record is not None
            assert first[-1].record.version == 1
            # The server answers calls in order of arrival on one connection: the wait above has begun.
            await client.get_run(RUN)
            coordinator.process.send_signal(signal.SIGTERM)
            with pytest.raises(DrainingError):
                await waiting
            with pytest.raises(UnavailableError):
                await anext(updates)
        assert await asyncio.to_thread(coordinator.process.wait, 10.0) == 0
        coordinator.start()
        async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
            assert (await client.get_run(RUN)).version == 1


async def test_a_coordinator_that_was_replaced_exits_with_3(tmp_path: Path) -> None:
    with coordinator_process(tmp_path) as coordinator:
        async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
            await client.create_run(run_config(), payload(), run_id=RUN)
            worker = await Committer(client).register()
            await worker.checkout()
            database = sqlite3.connect(tmp_path / "chronos.db")
            with database:
                database.execute("UPDATE leadership SET epoch = epoch + 1")
                database.execute("UPDATE streams SET epoch = epoch + 1")
            database.close()

            async def ended() -> bool:
                try:
                    await worker.commit(0)
                except ChronosError:
                    return coordinator.process.returncode is not None
                raise AssertionError("a fenced coordinator has acknowledged a commit")

            await poll_async(ended, "its end")
        assert coordinator.process.returncode == FENCED
        coordinator.start()
        async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
            assert (await client.get_run(RUN)).accepted == 0
