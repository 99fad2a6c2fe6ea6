"""The small parts: lifecycle, compute thread, estimates of time, accounts, devices, settings, exit codes."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import pytest
import torch
from prometheus_client import CollectorRegistry

from chronos_common.errors import (
    ChronosError,
    ConfigurationError,
    IncarnationSupersededError,
    ProblemNotAllowedError,
    StoreWriteError,
    UnavailableError,
    WaitExpiredError,
)
from chronos_common.metrics import WorkerMetrics
from chronos_worker import Worker, WorkerConfig
from chronos_worker.__main__ import FAILED, NOT_ALLOWED, SUPERSEDED, exit_code, main
from chronos_worker.compute_thread import ComputeThread
from chronos_worker.devices import device_label, resolve_device, use_threads
from chronos_worker.lifecycle import Interrupted, Lifecycle
from chronos_worker.pace import TimeAccount, TimeEstimate
from chronos_worker.retry import Backoff, Retrier
from tests.support.fake_time import FakeTime

# --- lifecycle -------------------------------------------------------------------------------------------


async def test_waiting_ends_with_the_stop_and_work_with_the_drain() -> None:
    time = FakeTime()
    lifecycle = Lifecycle(drain_seconds=300.0, clock=time.clock, sleep=time.sleep)
    idle = asyncio.create_task(lifecycle.unless_stopping(asyncio.Event().wait()))
    busy = asyncio.create_task(lifecycle.until_drained(asyncio.Event().wait()))
    await asyncio.sleep(0)
    lifecycle.stop()
    lifecycle.stop()
    assert lifecycle.drain_deadline == time.now + 300.0
    with pytest.raises(Interrupted):
        await idle
    await time.until_asleep(300.0)
    assert not busy.done()
    time.pass_long(300.0)
    with pytest.raises(Interrupted):
        await busy
    await lifecycle.close()


async def test_results_and_errors_pass_through() -> None:
    lifecycle = Lifecycle(drain_seconds=300.0, clock=lambda: 0.0, sleep=asyncio.sleep)
    assert await lifecycle.until_drained(asyncio.sleep(0, "result")) == "result"

    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await lifecycle.unless_stopping(fail())
    await lifecycle.close()


async def test_nothing_begins_after_a_stop() -> None:
    time = FakeTime()
    lifecycle = Lifecycle(drain_seconds=300.0, clock=time.clock, sleep=time.sleep)
    lifecycle.stop()
    begun: list[int] = []

    async def begin() -> None:
        begun.append(1)

    with pytest.raises(Interrupted):
        await lifecycle.unless_stopping(begin())
    assert begun == []
    assert await lifecycle.until_drained(asyncio.sleep(0, "finished")) == "finished"
    await lifecycle.close()


async def test_a_failure_ends_everything_and_the_first_one_is_kept() -> None:
    lifecycle = Lifecycle(drain_seconds=300.0, clock=lambda: 0.0, sleep=asyncio.sleep)
    first = ChronosError("first")
    lifecycle.fail(first)
    lifecycle.fail(ChronosError("second"))
    assert lifecycle.error is first
    with pytest.raises(Interrupted):
        await lifecycle.until_drained(asyncio.Event().wait())


# --- compute thread --------------------------------------------------------------------------------------


async def test_jobs_run_in_one_thread_and_bring_their_results_and_errors() -> None:
    started: list[int] = []
    thread = ComputeThread("compute", lambda: started.append(threading.get_ident()))
    first, second = await thread.run(threading.get_ident), await thread.run(threading.get_ident)
    assert first == second == started[0] != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 / 0)
    assert not thread.busy
    thread.close()


async def test_an_abandoned_job_keeps_the_thread_busy_and_disturbs_nobody() -> None:
    thread, release = ComputeThread("compute"), threading.Event()
    job = asyncio.create_task(thread.run(release.wait))
    await asyncio.sleep(0)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    assert thread.busy
    release.set()
    assert await thread.run(lambda: 3) == 3
    thread.close()


def test_a_job_may_outlive_its_event_loop() -> None:
    thread, release = ComputeThread("compute"), threading.Event()

    async def abandon() -> None:
        job = asyncio.create_task(thread.run(release.wait))
        await asyncio.sleep(0)
        job.cancel()

    asyncio.run(abandon())
    release.set()
    thread.close(30.0)
    assert not thread.busy


# --- time ------------------------------------------------------------------------------------------------


def test_an_estimate_follows_what_it_sees() -> None:
    estimate = TimeEstimate()
    assert (estimate.mean, estimate.bound, estimate.known) == (0.0, 0.0, False)
    estimate.observe(2.0)
    assert (estimate.mean, estimate.bound) == (2.0, 6.0)
    for _ in range(100):
        estimate.observe(4.0)
    assert estimate.mean == pytest.approx(4.0, abs=1e-4)
    assert estimate.bound == pytest.approx(4.0, abs=1e-3)
    estimate.observe(8.0)
    assert estimate.bound > 8.0


def test_an_account_is_taken_once_and_can_be_given_back() -> None:
    now = [0.0]
    registry = CollectorRegistry()
    account = TimeAccount(lambda: now[0], WorkerMetrics(registry))
    with account.timed("compute"):
        now[0] = 3.0
    account.spent("wait", -1.0)
    taken = account.take()
    assert taken == {"compute": 3.0, "wait": 0.0}
    assert account.take() == {}
    account.spent("compute", 1.0)
    account.give_back(taken)
    assert account.take() == {"compute": 4.0, "wait": 0.0}
    assert registry.get_sample_value("chronos_worker_seconds_total", {"activity": "compute"}) == 4.0


# --- retries ---------------------------------------------------------------------------------------------


def retrier(slept: list[float]) -> Retrier:
    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def backoff() -> Backoff:
        return Backoff(rng=random.Random(1), sleep=sleep, first_seconds=1.0, longest_seconds=4.0)

    return Retrier(backoff, WorkerMetrics())


async def test_pauses_double_with_jitter_up_to_the_longest() -> None:
    slept: list[float] = []
    answers = [UnavailableError("a"), StoreWriteError("b"), ChronosError("c"), UnavailableError("d")]

    async def call() -> str:
        if answers:
            raise answers.pop(0)
        return "done"

    assert await retrier(slept).answer("call", call) == "done"
    for seconds, longest in zip(slept, (1.0, 2.0, 4.0, 4.0), strict=True):
        assert longest / 2 <= seconds <= longest


@pytest.mark.parametrize(
    "error", [ConfigurationError("x"), ProblemNotAllowedError("x"), WaitExpiredError("x")]
)
async def test_definitive_answers_and_those_asked_for_are_passed_on(error: ChronosError) -> None:
    slept: list[float] = []

    async def call() -> str:
        raise error

    with pytest.raises(type(error)):
        await retrier(slept).answer("call", call, passing=(WaitExpiredError,))
    assert slept == []


# --- devices and settings --------------------------------------------------------------------------------


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert device_label(torch.device("cpu")) == "cpu"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigurationError, match=r"'cuda:99' is not there.*sees \d+ CUDA devices; choose"):
        resolve_device("cuda:99")


def test_threads() -> None:
    before = torch.get_num_threads()
    try:
        use_threads(None)
        assert torch.get_num_threads() == before
        use_threads(1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"coordinator": "localhost"}, "host:port"),
        ({"coordinator": ":1"}, "host:port"),
        ({"coordinator": "host:http"}, "host:port"),
        ({"device": "tpu"}, "cpu, cuda, cuda:N or auto"),
        ({"threads": 0}, "threads is 0"),
        ({"max_failures": 0}, "max_failures is 0"),
        ({"drain_seconds": -1.0}, "drain_seconds is -1.0"),
        ({"state_theta_seconds": -1.0}, "state_theta_seconds is -1.0"),
        ({"wait_seconds": float("nan")}, "wait_seconds is nan"),
        ({"retry_seconds": 0.0}, "retry_seconds is 0.0"),
        ({"retry_seconds": 9.0}, "max_retry_seconds"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        WorkerConfig(**settings)


# --- the command -----------------------------------------------------------------------------------------


def test_help_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for part in (
        "--coordinator",
        "--worker-id",
        "--run",
        "--problem",
        "--state-dir",
        "--state-theta-seconds",
        "--device",
        "--metrics-port",
        "--log-level",
    ):
        assert part in text
    assert "CHRONOS_WORKER__DRAIN_SECONDS" in text
    assert "exit codes" in text


def test_a_bad_setting_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--device", "tpu"])
    assert stop.value.code == 2
    assert "cpu, cuda, cuda:N or auto" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (IncarnationSupersededError("x"), SUPERSEDED),
        (ProblemNotAllowedError("x"), NOT_ALLOWED),
        (ConfigurationError("x"), 2),
        (ChronosError("x"), FAILED),
    ],
)
def test_exit_codes(error: ChronosError, code: int) -> None:
    assert exit_code(error) == code


def test_an_unexpected_error_in_a_worker_s_thread_reaches_whoever_joins_it() -> None:
    def connect() -> Any:
        raise KeyError("no client")

    with pytest.raises(KeyError, match="no client"):
        Worker(WorkerConfig(worker_id="w"), connect=connect).start().join(30.0)
