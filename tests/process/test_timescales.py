"""A coordinator dies in the middle of a slow level's period: what it had gathered is there again, to the bit."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from chronos_common.codec import decode, encode
from chronos_common.compression import PipelineConfig
from chronos_common.engine import FINISHED, CompressionConfig, RunConfig, WorkSpec, verify
from chronos_common.engine.local import describe_run, optimize
from chronos_common.outer import OuterConfig, TimescaleConfig
from chronos_common.runtime import ManagedProcess, child_environment
from chronos_common.store import StreamKey, open_store, to_event
from chronos_common.tensors import digest
from chronos_common.versions import LeaseConfig, RoundConfig
from chronos_common.wire import CoordinatorClient
from tests.support.clients import BUDGET, Committer, committers
from tests.support.coordinator_process import CoordinatorProcess, coordinator_process
from tests.support.polling import poll_async
from tests.support.problems import Ridge
from tests.support.serving import RUN, payload, run_config

pytestmark = [pytest.mark.process, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
PERIOD = 7
LEASES = LeaseConfig(initial_seconds=0.3, min_seconds=0.3, max_seconds=0.3)
RATE = 2.0**-6


def levelled(config: RunConfig, period: int) -> RunConfig:
    slow = TimescaleConfig(name="slow", parameters=("*",), period=period)
    return replace(config, outer=OuterConfig(name="sgd", learning_rate=RATE, levels=(slow,)))


async def commit_up_to(worker: Committer, version: int) -> None:
    """One commit for each version: the value i makes version i."""
    for number in range(len(worker.sent) + 1, version + 1):
        await worker.work(number)
        await poll_async(partial(_reached, worker.client, number), f"version {number}", timeout_seconds=30.0)


async def _reached(client: CoordinatorClient, version: int) -> bool:
    return (await client.get_run(RUN)).version >= version


async def test_gathered_gradients_survive_sigkills_in_mid_period_to_the_bit(tmp_path: Path) -> None:
    """θ ← θ - η·Σ over (i-C, i] of g at i = C, 2C, ..., whatever died in between; and never before C."""
    config = levelled(run_config(quorum=1, max_versions=3 * PERIOD + 2, leases=LEASES), PERIOD)
    with coordinator_process(tmp_path) as coordinator:
        async with (
            CoordinatorClient(coordinator.address, deadlines=BUDGET) as client,
            committers(coordinator.address, ["w1"]) as (worker,),
        ):
            await client.create_run(config, payload(), run_id=RUN)
            for kill_at in (3, PERIOD, PERIOD + 1, 2 * PERIOD + 5):
                await commit_up_to(worker, kill_at)
                await asyncio.to_thread(coordinator.restart)
                assert await published(client) == by_formula(worker.sent)
            await commit_up_to(worker, 3 * PERIOD + 1)
            assert await published(client) == by_formula(worker.sent)
            assert (await client.verify_run(RUN)).clean
    assert len(worker.sent) == 3 * PERIOD + 1
    opened = open_store(tmp_path, read_only=True)
    try:
        report = verify(to_event(entry) for entry in opened.entries(StreamKey.of_run(RUN)))
    finally:
        opened.close()
    assert report.clean, report.problem


async def published(client: CoordinatorClient) -> float:
    checkout = await client.checkout(RUN)
    assert checkout.snapshot is not None
    (value,) = {float(v) for array in decode(checkout.snapshot).values() for v in np.ravel(array)}
    return value


def by_formula(gradients: list[float]) -> float:
    value = np.float32(0.0)
    for begin in range(0, len(gradients) - PERIOD + 1, PERIOD):
        total = np.float32(0.0)
        for gradient in gradients[begin : begin + PERIOD]:
            total = np.float32(total + np.float32(gradient))
        value = np.float32(value - np.float32(RATE) * total)
    return float(value)


def worker_process(coordinator: CoordinatorProcess) -> ManagedProcess:
    argv = [sys.executable, "-m", "chronos_worker", f"--coordinator={coordinator.address}", "--worker-id=w0"]
    argv += [f"--run={RUN}", "--problem=tests.support.problems:*", "--metrics-port=none", "--log-format=json"]
    argv += [f"--deadlines-budget-seconds={BUDGET.budget_seconds}", "--max-retry-seconds=0.2"]
    return ManagedProcess(argv, name="w0", cwd=ROOT, env=child_environment(threads=1))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("down", ["identity", "int8"])
async def test_a_served_run_with_levels_is_the_single_process_one_to_the_bit(
    tmp_path: Path, down: str
) -> None:
    """Promise 7 with levels, through a SIGKILL of the coordinator in mid-period, compressed or not."""
    work = WorkSpec(problem="tests.support.problems:Ridge", estimator="implicit", inner_steps=20)
    slow = TimescaleConfig(
        name="slow", parameters=("*",), period=5, optimizer=OuterConfig(name="adamw", learning_rate=0.1)
    )
    outer = OuterConfig(levels=(slow,))
    pipeline = PipelineConfig(name=down, dense_below_elements=0)
    compression = CompressionConfig(down=pipeline)
    config, start = describe_run(
        Ridge(),
        work=work,
        outer=outer,
        rounds=RoundConfig(quorum=1),
        compression=compression,
        max_versions=23,
    )
    with ExitStack() as stack:
        coordinator = stack.enter_context(coordinator_process(tmp_path))
        async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
            await client.create_run(config, encode("identity", start), run_id=RUN)
            stack.enter_context(worker_process(coordinator))
            await poll_async(partial(_reached, client, 7), "version 7", timeout_seconds=60.0)
            await asyncio.to_thread(coordinator.restart)
            await poll_async(partial(_reached, client, 23), "version 23", timeout_seconds=60.0)
            view = await client.get_run(RUN)
            assert view.status == FINISHED
            assert (await client.verify_run(RUN)).clean
    local = optimize(Ridge(), outer=outer, versions=23, inner_steps=20, compression=compression)
    assert view.digest == digest(local.stored)
