"""Data plans between a client and a coordinator over the loopback interface."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chronos_common.data import PlanConfig
from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.source import DealtShare
from chronos_common.errors import (
    ChronosError,
    ConfigurationError,
    DataPlanExistsError,
    DataPlanNotFoundError,
    EpochNotOverError,
    IncarnationSupersededError,
    InvalidRequestError,
    RankTakenError,
    SizesDisagreeError,
    WaitExpiredError,
    WorkerNotMemberError,
    WorkerUnknownError,
)
from chronos_common.wire import CoordinatorClient
from tests.support.services import serving

PLAN = "plan"
SAMPLES = 60


def config(**changes: Any) -> DataPlanConfig:
    workers = changes.get("workers", 1)
    fields = {"samples": SAMPLES, "plan": PlanConfig(batch_size=10, workers=workers), "lookahead": 2}
    return DataPlanConfig(**(fields | changes))


def sizes(count: int = SAMPLES) -> Any:
    return np.random.default_rng(0).lognormal(size=count)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[CoordinatorClient]:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as connected:
        yield connected


async def member(client: CoordinatorClient, name: str, **join: Any) -> int:
    incarnation = (await client.register(name, f"instance-{name}")).incarnation
    await client.join_data(PLAN, name, incarnation, **join)
    return incarnation


async def work(
    client: CoordinatorClient,
    name: str,
    incarnation: int,
    *,
    epoch: int = 0,
    most: int = 10**6,
    pace: float = 0.01,
) -> list[int]:
    """Takes shares and reports them, as many as asked for; the samples that it finished."""
    done: list[int] = []
    stream = client.stream_shares(PLAN, name, incarnation, epoch=epoch)
    async with aclosing(stream) as shares:  # type: ignore[type-var]
        async for share in shares:
            lost = await client.finish_shares(
                PLAN, name, incarnation, [(share.turn, 0.01 + pace * share.cost)]
            )
            assert lost == ()
            done += share.indices.tolist()
            if (most := most - 1) == 0:
                break
    return done


async def first_shares(
    client: CoordinatorClient, name: str, incarnation: int, count: int
) -> list[DealtShare]:
    stream = client.stream_shares(PLAN, name, incarnation, epoch=0)
    found = []
    async with aclosing(stream) as shares:  # type: ignore[type-var]
        async for share in shares:
            found.append(share)
            if len(found) == count:
                break
    return found


async def test_three_workers_finish_every_sample_once_in_each_of_two_epochs(
    client: CoordinatorClient,
) -> None:
    view = await client.create_data_plan(PLAN, config(workers=3))
    assert (view.sized, view.first_missing, view.config.steps) == (0, 0, 6)
    values = sizes()
    for begin in (40, 0, 20):
        await client.upload_sizes(PLAN, begin, values[begin : begin + 20])
    members = {name: await member(client, name, rank=rank) for rank, name in enumerate("abc")}
    for epoch in range(2):
        done = await asyncio.gather(
            *(work(client, name, incarnation, epoch=epoch) for name, incarnation in members.items())
        )
        assert Counter(sample for one in done for sample in one) == Counter(range(SAMPLES))
        view = await client.describe_data(PLAN)
        assert (view.epoch, view.over, view.finished, view.open, view.returned) == (
            epoch,
            True,
            SAMPLES,
            0,
            0,
        )
    assert sum(one.finished for one in view.members) == 2 * SAMPLES
    assert view.imbalance is not None
    assert 1.0 <= view.imbalance < 2.0
    assert [plan.plan_id for plan in await client.list_data_plans()] == [PLAN]


async def test_a_slow_worker_gets_less(client: CoordinatorClient) -> None:
    await client.create_data_plan(
        PLAN, config(workers=2, samples=600, plan=PlanConfig(batch_size=60, workers=2))
    )
    await client.upload_sizes(PLAN, 0, np.ones(600, dtype=np.float32))
    slow, fast = await member(client, "slow"), await member(client, "fast")
    done = await asyncio.gather(work(client, "slow", slow, pace=0.3), work(client, "fast", fast, pace=0.1))
    assert len(done[0]) < 0.4 * len(done[1]) + 60
    view = await client.describe_data(PLAN)
    assert view.members[1].beta_seconds == pytest.approx(0.3, rel=0.1)


async def test_what_a_leaver_held_goes_to_the_others_and_a_joiner_takes_part(
    client: CoordinatorClient,
) -> None:
    await client.create_data_plan(PLAN, config(workers=2))
    await client.upload_sizes(PLAN, 0, sizes())
    a, b = await member(client, "a"), await member(client, "b")
    held = await first_shares(client, "b", b, 2)
    await client.finish_shares(PLAN, "b", b, [(held[0].turn, 0.1)])
    await client.leave_data(PLAN, "b", b)
    with pytest.raises(WorkerNotMemberError):
        await client.finish_shares(PLAN, "b", b, [(held[1].turn, 0.1)])
    c = await member(client, "c")
    done = await asyncio.gather(work(client, "a", a), work(client, "c", c))
    assert done[1]
    assert Counter([*held[0].indices, *done[0], *done[1]]) == Counter(range(SAMPLES))


async def test_a_reader_that_comes_again_gets_what_it_has_not_seen(client: CoordinatorClient) -> None:
    await client.create_data_plan(PLAN, config())
    await client.upload_sizes(PLAN, 0, sizes())
    a = await member(client, "a")
    first = await first_shares(client, "a", a, 2)
    again = await first_shares(client, "a", a, 2)
    assert [share.turn for share in again] == [share.turn for share in first] == [1, 2]
    assert [share.indices.tolist() for share in again] == [share.indices.tolist() for share in first]
    with pytest.raises(WaitExpiredError, match="others work"):
        async for _ in client.stream_shares(PLAN, "a", a, epoch=0, after_turn=2, wait_seconds=0.05):
            pass


async def test_a_report_twice_counts_once(client: CoordinatorClient) -> None:
    await client.create_data_plan(PLAN, config())
    await client.upload_sizes(PLAN, 0, sizes())
    a = await member(client, "a")
    for _ in range(2):
        assert await client.finish_shares(PLAN, "a", a, [(1, 0.5)]) == ()
    assert (await client.describe_data(PLAN)).finished == 10


async def test_a_new_process_of_a_worker_takes_its_place(client: CoordinatorClient) -> None:
    await client.create_data_plan(PLAN, config())
    await client.upload_sizes(PLAN, 0, sizes())
    old = await member(client, "a")
    await first_shares(client, "a", old, 2)
    new = (await client.register("a", "another")).incarnation
    await client.join_data(PLAN, "a", new)
    with pytest.raises(IncarnationSupersededError):
        await client.finish_shares(PLAN, "a", old, [(1, 0.1)])
    assert await client.finish_shares(PLAN, "a", new, [(1, 0.1)]) == (1,)
    assert Counter(await work(client, "a", new)) == Counter(range(SAMPLES))


async def test_a_checkpoint_brings_back_what_came_after_it(client: CoordinatorClient) -> None:
    await client.create_data_plan(PLAN, config())
    await client.upload_sizes(PLAN, 0, sizes())
    a = await member(client, "a")
    before = await work(client, "a", a, most=2)
    state = await client.save_data(PLAN)
    await work(client, "a", a, most=3)
    view = await client.restore_data(PLAN, state)
    assert view.finished == len(before) == 20
    assert Counter(before + await work(client, "a", a)) == Counter(range(SAMPLES))
    with pytest.raises(InvalidRequestError, match="state"):
        await client.restore_data(PLAN, b"{}")


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        await client.create_data_plan(PLAN, config(workers=2))
        await client.upload_sizes(PLAN, 0, sizes()[:30])
        await client.upload_sizes(PLAN, 30, sizes()[30:])
        a, b = await member(client, "a", rank=0), await member(client, "b", rank=1)
        done = await asyncio.gather(work(client, "a", a, most=2), work(client, "b", b, most=2))
        before = await client.describe_data(PLAN)
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        assert await client.describe_data(PLAN) == before
        rest = await asyncio.gather(work(client, "a", a), work(client, "b", b))
        assert Counter([*done[0], *done[1], *rest[0], *rest[1]]) == Counter(range(SAMPLES))


async def test_a_partitioned_data_set_stays_on_its_nodes(client: CoordinatorClient) -> None:
    await client.create_data_plan(PLAN, config(workers=2, partitioned=True))
    values = sizes()
    await client.upload_sizes(PLAN, 0, values[:25], node=0)
    await client.upload_sizes(PLAN, 25, values[25:], node=1)
    a, b = await member(client, "a", node=0), await member(client, "b", node=1)
    done = await asyncio.gather(work(client, "a", a), work(client, "b", b))
    assert [sorted(one) for one in done] == [list(range(25)), list(range(25, SAMPLES))]


async def test_a_million_sizes_arrive_and_the_first_share_follows_at_once(client: CoordinatorClient) -> None:
    count = 1_000_000
    await client.create_data_plan(PLAN, config(samples=count, plan=PlanConfig(batch_size=2048, workers=1)))
    a = await member(client, "a")
    assert await client.upload_sizes(PLAN, 0, sizes(count).astype(np.float32)) == count
    (share,) = await first_shares(client, "a", a, 1)
    assert share.total_count == len(share.indices) == 2048


@pytest.mark.parametrize(
    ("bad", "error", "word"),
    [
        ([1.0, -1.0], InvalidRequestError, "sample 1"),
        ([math.nan, 1.0], InvalidRequestError, "sample 0"),
        ([1.0, 0.0], InvalidRequestError, "above 0"),
        ([math.inf], InvalidRequestError, "finite"),
        ([], InvalidRequestError, "one number for each"),
        ([[1.0]], InvalidRequestError, "one number for each"),
        (["x"], InvalidRequestError, "one number for each"),
        ([1.0] * (SAMPLES + 1), InvalidRequestError, "samples 0 to"),
    ],
)
async def test_sizes_that_cannot_be_are_refused(
    client: CoordinatorClient, bad: Any, error: type[ChronosError], word: str
) -> None:
    await client.create_data_plan(PLAN, config())
    with pytest.raises(error, match=word):
        await client.upload_sizes(PLAN, 0, bad)
    assert (await client.describe_data(PLAN)).sized == 0


async def test_sizes_told_twice_must_agree(client: CoordinatorClient) -> None:
    await client.create_data_plan(PLAN, config())
    await client.upload_sizes(PLAN, 0, sizes())
    assert await client.upload_sizes(PLAN, 0, sizes()) == SAMPLES
    changed = sizes()[5:9]
    changed[2] += 1.0
    with pytest.raises(SizesDisagreeError, match="sample 7"):
        await client.upload_sizes(PLAN, 5, changed)


async def test_what_is_missing_is_said(client: CoordinatorClient) -> None:
    await client.create_data_plan(PLAN, config(workers=2))
    a = await member(client, "a")

    async def wait() -> None:
        async for _ in client.stream_shares(PLAN, "a", a, epoch=0, wait_seconds=0.02):
            pass

    await client.upload_sizes(PLAN, 0, sizes()[:5])
    with pytest.raises(WaitExpiredError, match="5 of 60 samples have a size, the first without one is 5"):
        await wait()
    await client.upload_sizes(PLAN, 5, sizes()[5:])
    with pytest.raises(WaitExpiredError, match="1 of 2 workers"):
        await wait()


async def test_who_may_not_take_part_is_told_why(client: CoordinatorClient) -> None:
    with pytest.raises(DataPlanNotFoundError, match="plan"):
        await client.describe_data(PLAN)
    await client.create_data_plan(PLAN, config())
    with pytest.raises(DataPlanExistsError, match="another definition"):
        await client.create_data_plan(PLAN, config(lookahead=3))
    with pytest.raises(WorkerUnknownError):
        await client.join_data(PLAN, "a", 1)
    a = await member(client, "a", rank=0)
    with pytest.raises(RankTakenError, match="'a'"):
        await member(client, "b", rank=0)
    with pytest.raises(InvalidRequestError, match="not partitioned"):
        await client.join_data(PLAN, "a", a, rank=0, node=1)
    with pytest.raises(EpochNotOverError):
        async for _ in client.stream_shares(PLAN, "a", a, epoch=2):
            pass
    with pytest.raises(InvalidRequestError, match="turn"):
        await client.finish_shares(PLAN, "a", a, [(5, 0.1)])
    with pytest.raises(ConfigurationError, match="61 workers for 60 samples"):
        config(workers=61)


async def test_a_definition_is_checked_by_the_coordinator_too(client: CoordinatorClient) -> None:
    broken = config()
    object.__setattr__(broken, "workers", 61)
    with pytest.raises(ConfigurationError, match="61 workers for 60 samples"):
        await client.create_data_plan(PLAN, broken)
