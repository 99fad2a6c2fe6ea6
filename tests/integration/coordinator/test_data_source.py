"""A worker's source against a coordinator: misuse, two plans at once, checkpoints above one message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chronos_common.data import PlanConfig
from chronos_common.data.definition import DataPlanConfig
from chronos_common.errors import ConfigurationError, InvalidRequestError, WorkerNotMemberError
from chronos_common.wire import CoordinatorSource, SyncCoordinatorClient, join_plan
from tests.support.services import serving


def config(samples: int = 40, batch_size: int = 8) -> DataPlanConfig:
    return DataPlanConfig(samples=samples, plan=PlanConfig(batch_size=batch_size))


def run_through(source: CoordinatorSource, epoch: int) -> list[int]:
    source.begin(epoch)
    done: list[int] = []
    while (share := source.next_share()) is not None:
        assert source.finish(share, 0.1)
        done += share.indices.tolist()
    return sorted(done)


def misuse(client: SyncCoordinatorClient) -> None:
    with join_plan(client, "näch↯ste", "w", config=config(), sizes=np.ones(40), rank=0) as source:
        with pytest.raises(InvalidRequestError, match="begin"):
            source.next_share()
        with pytest.raises(InvalidRequestError, match="count from 0"):
            source.begin(-1)
        source.begin(0)
        share = source.next_share()
        assert share is not None
        assert source.finish(share, 1.0)
        assert source.finish(share, 1.0)  # said twice
        with pytest.raises(InvalidRequestError, match="seconds"):
            source.finish(share, -1.0)
    with pytest.raises(WorkerNotMemberError, match="has left"):
        source.next_share()
    with pytest.raises(InvalidRequestError, match="closed"):
        source.begin(1)
    with pytest.raises(InvalidRequestError, match="begin"):
        client.upload_sizes("näch↯ste", -1, np.ones(1))
    with pytest.raises(InvalidRequestError, match="rank"):
        client.join_data("näch↯ste", "w", 1, rank=-3)
    with pytest.raises(ConfigurationError, match="seed"):
        PlanConfig(batch_size=1, seed=-1)


def two_plans(client: SyncCoordinatorClient) -> None:
    with (
        join_plan(client, "train", "w", config=config(), sizes=np.ones(40), rank=0) as train,
        join_plan(client, "valid", "w", config=config(9, 3), sizes=np.ones(9), rank=0) as valid,
    ):
        assert run_through(train, 0) == list(range(40))
        assert run_through(valid, 0) == list(range(9))
        assert run_through(train, 1) == list(range(40))


def large_checkpoint(client: SyncCoordinatorClient) -> None:
    """One batch of 400,000 samples is open when it is taken: more than one message either way."""
    samples = 400_000
    sizes = np.ones(samples, np.float32)
    with join_plan(client, "large", "w", config=config(samples, samples), sizes=sizes, rank=0) as source:
        source.begin(0)
        assert source.next_share() is not None
        state = source.save()
        assert len(state) > 2 << 20
        source.restore(state)
        assert len(run_through(source, 0)) == samples


@pytest.mark.parametrize("works", [misuse, two_plans, large_checkpoint])
async def test_a_source_against_a_coordinator(
    tmp_path: Path, works: Callable[[SyncCoordinatorClient], None]
) -> None:
    async with serving(tmp_path) as app:

        def work() -> None:
            with SyncCoordinatorClient(app.address) as client:
                works(client)

        await asyncio.to_thread(work)
