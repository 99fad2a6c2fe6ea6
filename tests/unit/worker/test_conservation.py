"""Whatever the network does: every update is applied exactly once, or owed, or was discounted for its age."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos_common.compression import PipelineConfig
from chronos_common.engine import CompressionConfig, verify
from chronos_worker import Worker, WorkerConfig
from chronos_worker import sessions as sessions_module
from chronos_worker.session import Session
from tests.support.fake_compute import FakeCompute
from tests.support.fake_coordinator import FakeCoordinator, run_config
from tests.support.fake_time import FakeTime
from tests.support.faulty_client import DELIVER, FAULTS, FaultyClient

UPDATES = 12


@pytest.mark.histories
@given(
    faults=st.lists(st.tuples(st.sampled_from(("checkout", "commit", "register")), st.sampled_from(FAULTS))),
    seed=st.integers(0, 2**16),
    up=st.sampled_from(("identity", "topk5")),
)
@settings(max_examples=150)
def test_produced_is_applied_plus_residual_plus_discounted(
    faults: list[tuple[str, str]], seed: int, up: str
) -> None:
    time = FakeTime()
    coordinator, compute, plan = FakeCoordinator(time), FakeCompute(), list(faults)
    compression = CompressionConfig(up=PipelineConfig(name=up, dense_below_elements=0))
    sessions: list[Session] = []

    def next_fault(method: str) -> str:
        if plan and plan[0][0] == method:
            return plan.pop(0)[1]
        return DELIVER

    class Watched(Session):
        def __init__(self, *values: Any, **fields: Any) -> None:
            super().__init__(*values, **fields)
            sessions.append(self)

    client = FaultyClient(coordinator, next_fault)
    worker = Worker(
        WorkerConfig(worker_id="w", drain_seconds=500.0),
        connect=lambda: client,
        load=compute.load(time),
        clock=time.clock,
        sleep=time.sleep,
        rng=random.Random(seed),
    )

    def before(number: int, _arguments: Mapping[str, Any]) -> None:
        if number + 1 == UPDATES:
            worker.stop()

    async def run() -> None:
        coordinator.create(config=run_config(compression=compression))
        async with asyncio.timeout(60):
            await worker.run()

    compute.before = before
    with mock.patch.object(sessions_module, "Session", Watched):
        asyncio.run(run())

    [session] = sessions
    residual = session.outbox.residual.get("u", np.zeros_like(client.discounted))
    assert session.outbox.unresolved == ()
    produced = np.zeros_like(client.discounted)
    produced[:UPDATES] = 1.0
    np.testing.assert_array_equal(coordinator.applied("w") + residual + client.discounted, produced)
    assert verify(coordinator.events()).clean
    seqs = [record.seq for record in coordinator.records("w")]
    assert seqs == sorted(set(seqs))
