"""Clans between a client and a coordinator over the loopback interface."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest

from chronos_common.clan import (
    BoolAllele,
    ClanConfig,
    FanOutConfig,
    FitnessReported,
    FloatAllele,
    IntAllele,
    LogFloatAllele,
    RoundStarted,
    StringAllele,
    fold,
    plan,
    preset,
)
from chronos_common.clan.definition import ClanDefinition
from chronos_common.errors import (
    ChronosError,
    ClanExistsError,
    ClanFullError,
    ClanNotFoundError,
    ConfigurationError,
    GenomeMismatchError,
    IncarnationSupersededError,
    InvalidRequestError,
    RoundMismatchError,
    SeatTakenError,
    WaitExpiredError,
    WorkerNotMemberError,
    WorkerUnknownError,
)
from chronos_common.pb.chronos.v1 import clan_pb2
from chronos_common.pb.chronos.v1 import population_pb2 as pb
from chronos_common.wire import CoordinatorClient
from chronos_common.wire.convert import clan as convert
from tests.support.services import serving

CLAN = "clan"
GENES = {
    "lr": LogFloatAllele(value=1e-2, domain=(1e-6, 1.0)),
    "dropout": FloatAllele(value=0.1, domain=(0.0, 0.9), specialised=True),
    "batch": IntAllele(value=32, domain=(1, 256), specialised=True, can_crossbreed=False),
    "nesterov": BoolAllele(value=True, can_mutate=False),
    "loss": StringAllele(value="l1", domain=("l1", "l2")),
}


def definition(size: int = 3, **changes: Any) -> ClanDefinition:
    config = ClanConfig(population_size=size, round_length=30, total_steps=150, fan_out=FanOutConfig())
    return ClanDefinition(**{"config": config, "genes": GENES, "seed": 3, **changes})


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[CoordinatorClient]:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as connected:
        yield connected


async def member(client: CoordinatorClient, name: str, **join: Any) -> int:
    incarnation = (await client.register(name, f"instance-{name}")).incarnation
    await client.join_clan(CLAN, name, incarnation, **join)
    return incarnation


async def fetch(client: CoordinatorClient, name: str, wait_seconds: float = 5.0) -> Any:
    return await client.fetch_round(CLAN, name, 1, places=3, wait_seconds=wait_seconds)


def loss(number: int, place: int) -> float:
    return math.nan if (number, place) == (2, 1) else 2.0 + math.sin(3 * number + place)


async def play(client: CoordinatorClient, name: str, place: int) -> list[Any]:
    """A member from beginning to end; every plan and decision that it saw."""
    seen: list[Any] = []
    while not (found := await fetch(client, name)).finished:
        number = found.plan.round
        genome = found.plan.genomes[place]
        assert genome is not None
        await client.report_fitness(
            CLAN, name, 1, number=number, fitness=loss(number, place), genome_id=genome.genome_id
        )
        decision = await client.close_round(CLAN, name, 1, number=number, wait_seconds=5.0)
        seen += [found.plan, decision]
    return seen


async def test_members_see_the_plans_and_decisions_that_every_rank_alone_would_come_to(
    client: CoordinatorClient,
) -> None:
    await client.create_clan(CLAN, definition())
    for place, name in enumerate("abc"):
        await member(client, name, member=place)
    seen = await asyncio.gather(*(play(client, name, place) for place, name in enumerate("abc")))
    state = definition().found()
    alone: list[Any] = []
    while not state.finished:
        number = state.round
        state = fold(state, RoundStarted(round=number)).state
        alone.append(plan(state))
        for place in range(3):
            folded = fold(state, FitnessReported(round=number, member=place, fitness=loss(number, place)))
            state = folded.state
        alone.append(folded.decisions[0])
    assert len(alone) >= 10
    assert seen == [alone, alone, alone]
    history = await client.clan_history(CLAN)
    assert [record.decision for record in history] == alone[1::2]
    assert history[2].members[1].fitness == math.inf
    assert history[2].decision.ranking[-1] == 1
    assert history[1].members[0].genes["loss"] == "l1"
    assert [record.number for record in await client.clan_history(CLAN, 4)] == list(range(4, len(history)))
    report = await client.verify_clan(CLAN)
    assert (report.clean, report.rounds, report.problem) == (True, len(history), "")
    view = await client.describe_clan(CLAN)
    assert view.definition == definition()
    assert view.finished
    assert [one.genome for one in view.members] == [seat.genome for seat in state.seats]


async def test_a_restarted_coordinator_goes_on_where_it_was(tmp_path: Path) -> None:
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        await client.create_clan(CLAN, definition())
        for name in "abc":
            await member(client, name)
        first = await fetch(client, "a")
        await client.report_fitness(CLAN, "a", 1, number=0, fitness=1.0)
        before = await client.describe_clan(CLAN)
    async with serving(tmp_path) as app, CoordinatorClient(app.address) as client:
        assert await client.describe_clan(CLAN) == before
        assert await fetch(client, "b") == first
        for name in "bc":
            await client.report_fitness(CLAN, name, 1, number=0, fitness=0.5)
        decision = await client.close_round(CLAN, "a", 1, number=0)
        assert decision.ranking == (1, 2, 0)
        assert (await client.verify_clan(CLAN)).clean


async def test_whoever_waits_hears_of_the_end_of_the_round_and_of_every_change(
    client: CoordinatorClient,
) -> None:
    await client.create_clan(CLAN, definition())
    async with aclosing(client.watch_clan(CLAN)) as views:  # type: ignore[type-var]
        assert (await anext(views)).epoch == 0
        await member(client, "a")
        assert (await anext(views)).members[0].worker_id == "a"
    waiting = asyncio.create_task(fetch(client, "a", 30.0))
    with pytest.raises(WaitExpiredError, match="members 1, 2 of 3 have joined"):
        await fetch(client, "a", 0.01)
    await member(client, "b")
    await member(client, "c")
    assert (await waiting).plan.round == 0
    closing = asyncio.create_task(client.close_round(CLAN, "a", 1, number=0, wait_seconds=30.0))
    for name in "ab":
        assert not await client.report_fitness(CLAN, name, 1, number=0, fitness=1.0)
    with pytest.raises(WaitExpiredError, match="no fitness yet of c"):
        await client.close_round(CLAN, "b", 1, number=0, wait_seconds=0.01)
    assert await client.report_fitness(CLAN, "c", 1, number=0, fitness=0.5)
    decision = await closing
    assert decision.ranking[0] == 2
    assert await client.close_round(CLAN, "b", 1, number=0) == decision


async def test_who_leaves_is_not_waited_for_and_who_comes_takes_over_the_best_ones_weights(
    client: CoordinatorClient,
) -> None:
    await client.create_clan(CLAN, definition())
    for name in "abc":
        await member(client, name)
    await fetch(client, "a")
    await client.report_fitness(CLAN, "a", 1, number=0, fitness=1.0)
    await client.report_fitness(CLAN, "c", 1, number=0, fitness=2.0)
    closing = asyncio.create_task(client.close_round(CLAN, "a", 1, number=0, wait_seconds=30.0))
    assert await client.remove_member(CLAN, "a", 1, member=1, epoch=3) == 4
    assert (await closing).ranking == (0, 2)
    with pytest.raises(WorkerNotMemberError):
        await fetch(client, "b")
    await client.leave_clan(CLAN, "c", 1)
    await client.join_clan(CLAN, "c", 1, member=2)
    incarnation = (await client.register("d", "instance-d")).incarnation
    place = await client.join_clan(CLAN, "d", incarnation, address="10.0.0.1:7")
    assert (place.member, place.source) == (1, 0)
    assert place.view.members[1].address == "10.0.0.1:7"
    assert place == await client.join_clan(CLAN, "d", incarnation, address="10.0.0.1:7")
    assert (await fetch(client, "d")).plan.living == (0, 1, 2)


async def test_a_newer_process_takes_its_predecessors_place_and_closes_its_round(
    client: CoordinatorClient,
) -> None:
    await client.create_clan(CLAN, definition())
    for name in "abc":
        await member(client, name)
    await fetch(client, "a")
    for name in "ab":
        await client.report_fitness(CLAN, name, 1, number=0, fitness=1.0)
    newer = (await client.register("c", "another instance")).incarnation
    place = await client.join_clan(CLAN, "c", newer)
    assert (place.member, place.source) == (2, 0)
    with pytest.raises(IncarnationSupersededError):
        await client.report_fitness(CLAN, "c", 1, number=0, fitness=0.0)
    assert (await client.close_round(CLAN, "a", 1, number=0)).ranking == (0, 1)


async def test_a_checkpoint_repeats_what_followed_it(client: CoordinatorClient) -> None:
    await client.create_clan(CLAN, definition())
    for name in "abc":
        await member(client, name)
    state = await client.save_clan(CLAN)
    decisions = []
    for _ in range(2):
        for name in "abc":
            await client.restore_clan(CLAN, state)
            await fetch(client, name)
        for place, name in enumerate("abc"):
            await client.report_fitness(CLAN, name, 1, number=0, fitness=loss(0, place))
        decisions.append(await client.close_round(CLAN, "a", 1, number=0))
        after = await client.describe_clan(CLAN)
        decisions.append(after.members)  # type: ignore[arg-type]
    assert decisions[:2] == decisions[2:]
    with pytest.raises(InvalidRequestError, match="no state of a clan"):
        await client.restore_clan(CLAN, b"no")
    with pytest.raises(InvalidRequestError, match="cannot be restored"):
        await client.restore_clan(CLAN, b"{}")
    assert (await client.verify_clan(CLAN)).clean


async def test_what_does_not_fit_is_refused_and_says_why(client: CoordinatorClient) -> None:
    async def refused(kind: type[ChronosError], call: Any, match: str | None = None) -> None:
        with pytest.raises(kind, match=match):
            await call

    await refused(ClanNotFoundError, client.describe_clan(CLAN), "there is no clan 'clan'")
    await client.create_clan(CLAN, definition())
    assert await client.list_clans() == [CLAN]
    await refused(ClanExistsError, client.create_clan(CLAN, definition(seed=4)))
    await refused(WorkerUnknownError, client.join_clan(CLAN, "nobody", 1))
    for name in "abc":
        await member(client, name)
    await client.register("d", "instance-d")
    await refused(ClanFullError, client.join_clan(CLAN, "d", 1), "all 3 places")
    await refused(SeatTakenError, client.join_clan(CLAN, "d", 1, member=1), "'b'")
    await refused(InvalidRequestError, client.join_clan(CLAN, "d", 1, member=7), "no member 7")
    await refused(WorkerNotMemberError, client.report_fitness(CLAN, "d", 1, number=0, fitness=1.0))
    await refused(RoundMismatchError, client.report_fitness(CLAN, "a", 1, number=0, fitness=1.0))
    await fetch(client, "a")
    await refused(RoundMismatchError, client.report_fitness(CLAN, "a", 1, number=1, fitness=1.0))
    await refused(RoundMismatchError, client.close_round(CLAN, "a", 1, number=1))
    await refused(
        GenomeMismatchError,
        client.report_fitness(CLAN, "a", 1, number=0, fitness=1.0, genome_id="another"),
    )
    view = await client.describe_clan(CLAN)
    assert [one.reported for one in view.members] == [None] * 3


async def test_definitions_that_cannot_work_are_refused(client: CoordinatorClient) -> None:
    good = convert.definition_to_pb(definition())

    async def create(**changes: Any) -> Any:
        message = pb.ClanDefinition()
        message.CopyFrom(good)
        for name, value in changes.items():
            message.ClearField(name)
            if isinstance(value, dict):
                for gene, allele in value.items():
                    message.genes[gene].CopyFrom(allele)
            elif value is not None:
                setattr(message, name, value)
        stub = client.clans()
        return await client.call(
            stub.CreateClan, clan_pb2.CreateClanRequest(clan_id="bad", definition=message)
        )

    text = json.loads(good.algorithm)
    rate = good.genes["lr"]
    below = pb.Allele(kind=pb.ALLELE_KIND_FLOAT, value=pb.GeneValue(real=-1.0), low=0.0, high=1.0)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        await create(algorithm="{")
    with pytest.raises(ConfigurationError, match="population_size"):
        await create(algorithm=json.dumps({**text, "population_size": 0}))
    with pytest.raises(ConfigurationError, match="'lr'"):
        await create(genes={"rate": rate})
    with pytest.raises(ConfigurationError, match="outside of its domain"):
        await create(genes={"lr": rate, "x": below})
    with pytest.raises(InvalidRequestError, match="set real"):
        await create(genes={"lr": pb.Allele(kind=pb.ALLELE_KIND_FLOAT, value=pb.GeneValue(text="x"))})
    with pytest.raises(InvalidRequestError, match="kind of gene 'lr'"):
        await create(genes={"lr": pb.Allele()})
    nested = rate
    for _ in range(9):
        nested = pb.Allele(
            kind=pb.ALLELE_KIND_BOOL, value=pb.GeneValue(flag=True), metadata={"inner": nested}
        )
    with pytest.raises(InvalidRequestError, match="nested deeper"):
        await create(genes={"lr": rate, "deep": nested})
    assert await client.list_clans() == []


async def test_every_preset_survives_the_wire(client: CoordinatorClient) -> None:
    for name in ("clan_plus", "published", "pbt", "data_parallel_cosine"):
        wanted = ClanDefinition(config=preset(name, total_steps=100), genes=GENES)
        assert (await client.create_clan(name, wanted)).definition == wanted


async def test_a_round_that_has_passed_its_deadline_closes_without_the_late(tmp_path: Path) -> None:
    async with serving(tmp_path, fleet_timeout_seconds=1.5) as app, CoordinatorClient(app.address) as client:
        await client.create_clan(CLAN, definition(round_seconds=0.05))
        for name in "abc":
            await member(client, name)
        await fetch(client, "a")
        await client.report_fitness(CLAN, "b", 1, number=0, fitness=1.0)

        async def speak() -> None:
            while True:
                await asyncio.gather(*(client.heartbeat(name, 1) for name in "abc"))
                await asyncio.sleep(0.1)

        speaking = asyncio.create_task(speak())
        decision = await client.close_round(CLAN, "b", 1, number=0, wait_seconds=20.0)
        assert decision.ranking == (1,)
        with pytest.raises(WorkerNotMemberError, match="join again"):
            await client.close_round(CLAN, "a", 1, number=0)
        speaking.cancel()


def test_the_codes_are_those_of_the_field() -> None:
    from chronos_common.wire.status import CODES

    assert CODES[ClanNotFoundError] == grpc.StatusCode.NOT_FOUND
    assert CODES[ClanExistsError] == grpc.StatusCode.ALREADY_EXISTS
