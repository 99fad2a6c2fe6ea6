"""SIGTERM under load: what was accepted is answered, everything else is told to come again."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from chronos_common.engine import CommitRecord
from chronos_common.engine.events import from_parts
from chronos_common.errors import DrainingError, StaleCommitError, UnavailableError
from chronos_common.store import StreamKey, open_store, recover
from tests.support.clients import Committer, committers
from tests.support.coordinator_process import coordinator_process
from tests.support.serving import RUN, payload, run_config

pytestmark = pytest.mark.process

NAMES = [f"w{number}" for number in range(8)]
COMMITS_BEFORE = 5


class Load:
    """One worker that commits as fast as it can, and what it was told."""

    def __init__(self, worker: Committer) -> None:
        self.worker = worker
        self.acknowledged: list[int] = []
        self.refusals: list[UnavailableError] = []
        self.busy = asyncio.Event()

    async def run(self) -> None:
        """Until it is refused as unavailable; once more then, as a client would come back."""
        base = (await self.worker.checkout()).version
        while not self.refusals:
            seq = self.worker.applied + 1
            try:
                answer = await self.worker.commit(base)
            except StaleCommitError:
                try:
                    base = (await self.worker.checkout()).version
                except UnavailableError as error:
                    self.refusals.append(error)
            except UnavailableError as error:
                self.refusals.append(error)
            else:
                assert answer.last_applied == seq
                self.acknowledged.append(seq)
                base = answer.version
                if len(self.acknowledged) >= COMMITS_BEFORE:
                    self.busy.set()


def retry_delay(error: BaseException) -> float | None:
    """What the status of a refused call says about coming again, in seconds."""
    cause = error.__cause__
    assert isinstance(cause, grpc.aio.AioRpcError)
    assert cause.code() is grpc.StatusCode.UNAVAILABLE
    status: Any = rpc_status.from_call(cause)
    for packed in status.details if status is not None else ():
        info = error_details_pb2.RetryInfo()
        if packed.Unpack(info):
            return float(info.retry_delay.ToTimedelta().total_seconds())
    return None


async def test_a_drain_under_load_loses_no_call_that_was_accepted(tmp_path: Path) -> None:
    with coordinator_process(tmp_path) as coordinator:
        async with (
            committers(coordinator.address, NAMES) as workers,
            grpc.aio.insecure_channel(coordinator.address) as channel,
        ):
            await workers[0].client.create_run(
                run_config(quorum=1, max_staleness=999, max_in_flight=1000), payload(), run_id=RUN
            )
            health: Any = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(service="chronos.v1.CoordinatorService"))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            loads = [Load(worker) for worker in workers]
            running = [asyncio.create_task(load.run()) for load in loads]
            await asyncio.gather(*(load.busy.wait() for load in loads))
            coordinator.process.send_signal(signal.SIGTERM)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            await asyncio.gather(*running)
        assert await asyncio.to_thread(coordinator.process.wait, 10.0) == 0
    for load in loads:
        [refusal] = load.refusals
        assert type(refusal) is DrainingError, refusal
        assert retry_delay(refusal) == 0.5
    store = open_store(tmp_path, read_only=True)
    try:
        entries = store.entries(StreamKey.of_run(RUN))
        events = [from_parts(entry.kind, entry.meta, entry.payload) for entry in entries]
        accepted = [event for event in events if isinstance(event, CommitRecord)]
        state = recover(store, RUN).state
    finally:
        store.close()
    # Each acknowledged commit is in the journal once, and nothing is in it whose call failed.
    told = Counter((load.worker.worker_id, seq) for load in loads for seq in load.acknowledged)
    assert Counter((commit.worker_id, commit.seq) for commit in accepted) == told
    assert sum(told.values()) >= COMMITS_BEFORE * len(NAMES)
    assert {name: chain.last_applied for name, chain in state.rounds.chains.items()} == {
        load.worker.worker_id: load.acknowledged[-1] for load in loads
    }
