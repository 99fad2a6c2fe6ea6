"""A coordinator that is killed in mid-run remembers what it did, and its journal proves it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chronos_common.outer.memory import MemoryConfig
from chronos_common.store import open_store, recover
from chronos_common.versions import LeaseConfig
from chronos_common.wire import CoordinatorClient
from tests.support.clients import BUDGET
from tests.support.coordinator_process import SNAPSHOT_ENTRIES, coordinator_process
from tests.support.serving import RUN, payload, run_config

pytestmark = [pytest.mark.process, pytest.mark.slow]

LEASES = LeaseConfig(initial_seconds=0.3, min_seconds=0.3, max_seconds=0.3)


async def test_a_killed_coordinator_remembers(tmp_path: Path) -> None:
    config = replace(
        run_config(quorum=1, leases=LEASES, learning_rate=1e-3),
        memory=MemoryConfig(max_entries=15, half_after=5),
    )
    versions = 2 * SNAPSHOT_ENTRIES + 3
    with coordinator_process(tmp_path) as coordinator:
        async with CoordinatorClient(coordinator.address, deadlines=BUDGET) as client:
            await client.create_run(config, payload(), run_id=RUN)
            await client.store_memory(RUN, {"x": np.ones(2)}, {"x": np.ones(2)}, 9.0, source="told")
            await client.forbid_region(RUN, {"x": np.full(2, 50.0)}, reason="burst")
            incarnation = (await client.register("w1", "instance-1")).incarnation
            for version in range(versions):
                await client.checkout(
                    RUN, worker_id="w1", incarnation=incarnation, min_version=version, wait_seconds=4.0
                )
                await client.commit(
                    RUN,
                    worker_id="w1",
                    incarnation=incarnation,
                    seq=version + 1,
                    prev_applied=version,
                    base=version,
                    payload=payload(1.0 + version % 3),
                    metrics={"outer_loss": 1.0 / (1 + version)},
                )
            before = await client.describe_memory(RUN)
            near = await client.retrieve_similar(RUN, k=5)
            for _ in range(2):
                await asyncio.to_thread(coordinator.restart)
                async with asyncio.timeout(20.0):
                    await client.wait_until_serving(20.0)
                    after = await client.describe_memory(RUN)
                assert after == before
                assert await client.retrieve_similar(RUN, k=5) == near
                report = await client.verify_run(RUN)
                assert report.clean, report.problem
                assert report.snapshots >= 1
            assert before.counts.stored == versions + 1
            assert before.entries == 15
            assert [reason for _, _, reason in before.forbidden] == ["burst"]
    store = open_store(tmp_path, read_only=True)
    try:
        memory = recover(store, RUN).state.memory
    finally:
        store.close()
    assert memory is not None
    assert (memory.counts.stored, memory.counts.hits) == (before.counts.stored, before.counts.hits)
    assert memory.mean_cosine == before.mean_cosine
