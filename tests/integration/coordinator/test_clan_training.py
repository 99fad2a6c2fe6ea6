"""A training script's clan whose rounds a coordinator folds, against one that every member folds for itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import AdamW
from torch.utils.data import TensorDataset

from chronos_common.clan import ClanConfig, RoundClosed, RoundPlan
from chronos_common.clan.definition import ClanDefinition
from chronos_common.errors import (
    ClanFullError,
    IncarnationSupersededError,
    InvalidRequestError,
    UnavailableError,
    WorkerNotMemberError,
)
from chronos_common.wire import CoordinatorRounds, SyncCoordinatorClient
from chronos_worker.clan import Clan, RoundKeeper, Transport, run_members
from chronos_worker.clan.genes import bound_genes
from tests.support.services import serving

CLAN, MEMBERS = "clan", 3
CONFIG = ClanConfig(population_size=MEMBERS, round_length=6, total_steps=40)
X = torch.linspace(-1.0, 1.0, 24).reshape(12, 2)
DATA = TensorDataset(X, X.sum(dim=1, keepdim=True))


class InTurns:
    """A member's keeper where one member runs at a time: it waits for the others in the transport."""

    def __init__(self, rounds: CoordinatorRounds, transport: Transport) -> None:
        self._rounds, self._transport = rounds, transport

    @property
    def finished(self) -> bool:
        return self._rounds.finished

    def begin(self) -> RoundPlan:
        return self._rounds.begin()

    def close(self, fitness: float) -> RoundClosed:
        self._rounds.report(fitness)
        self._transport.gather(fitness)
        return self._rounds.closed()

    def to_json(self) -> dict[str, Any]:
        return self._rounds.to_json()

    def restore(self, parts: Mapping[str, Any]) -> None:
        self._rounds.restore(parts)


def network() -> tuple[nn.Module, AdamW]:
    torch.manual_seed(1)
    model = nn.Linear(2, 1)
    return model, AdamW(model.parameters(), lr=1e-2)


def definition() -> ClanDefinition:
    return ClanDefinition(config=CONFIG, genes=bound_genes(network()[1], ["adamw"], {}), seed=5)


def train(transport: Transport, keeper: RoundKeeper | None) -> tuple[list[RoundClosed], list[Tensor]]:
    model, optimizer = network()
    clan = Clan(
        model,
        optimizer,
        autobind=["adamw"],
        algorithm=CONFIG,
        seed=5,
        transport=transport,
        coordinator=keeper,
    )
    loader, decisions = clan.loader(DATA, batch_size=2), []
    while not clan.finished:
        member = clan.round()
        for x, y in loader:
            with member.sync_context():
                mse_loss(member.model(x), y).backward()  # type: ignore[no-untyped-call]
            member.optimizer.step()
            member.optimizer.zero_grad()
            member.step()
            if member.done:
                break
        with torch.no_grad():
            decisions.append(clan.step(mse_loss(member.model(DATA.tensors[0]), DATA.tensors[1])))
    return decisions, [parameter.detach().clone() for parameter in model.parameters()]


async def test_a_clan_on_a_coordinator_trains_bit_for_bit_as_one_without(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:

        def body(transport: Transport) -> Any:
            place = transport.rank
            with CoordinatorRounds.connect(
                app.address, CLAN, definition(), f"w{place}", member=place
            ) as rounds:
                return train(transport, InTurns(rounds, transport))

        served = await asyncio.to_thread(run_members, MEMBERS, body)
        with_history = await asyncio.to_thread(_history, app.address)
    alone = await asyncio.to_thread(run_members, MEMBERS, lambda transport: train(transport, None))
    assert len(alone[0][0]) >= 6
    for (decisions, weights), (wanted, expected) in zip(served, alone, strict=True):
        assert decisions == wanted
        assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))
    assert with_history == alone[0][0]


def _history(address: str) -> list[RoundClosed]:
    with SyncCoordinatorClient(address) as client:
        return [record.decision for record in client.clan_history(CLAN)]


async def test_a_member_waits_out_a_restart_and_goes_back_to_a_checkpoint(tmp_path: Path) -> None:
    lone = ClanDefinition(
        config=ClanConfig(population_size=1, round_length=5), genes=definition().genes, seed=5
    )
    async with serving(tmp_path) as app:
        port = int(app.address.rpartition(":")[2])
        rounds = await asyncio.to_thread(CoordinatorRounds.connect, app.address, CLAN, lone, "w")
        plan = await asyncio.to_thread(rounds.begin)
        state = await asyncio.to_thread(rounds.to_json)
    closing = asyncio.create_task(asyncio.to_thread(rounds.close, 1.0))
    async with serving(tmp_path, port):
        decision = await closing
        assert (decision.round, decision.ranking) == (0, (0,))
        assert (await asyncio.to_thread(rounds.begin)).round == 1
        await asyncio.to_thread(rounds.restore, state)
        with pytest.raises(InvalidRequestError, match="call begin"):
            await asyncio.to_thread(rounds.report, 1.0)
        assert await asyncio.to_thread(rounds.begin) == plan
        assert (await asyncio.to_thread(rounds.view)).epoch == rounds.epoch
        await asyncio.to_thread(rounds.leave)
        await asyncio.to_thread(rounds.leave)


async def test_a_member_that_was_removed_joins_again_and_one_that_was_replaced_ends(tmp_path: Path) -> None:
    two = ClanDefinition(config=ClanConfig(population_size=2), genes=definition().genes)
    async with serving(tmp_path) as app:

        def body() -> None:
            with (
                SyncCoordinatorClient(app.address) as client,
                CoordinatorRounds(client, CLAN, two, "a") as first,
                CoordinatorRounds(client, CLAN, two, "b") as second,
            ):
                with pytest.raises(ClanFullError):
                    CoordinatorRounds.connect(app.address, CLAN, two, "c")
                threading.Thread(target=first.begin).start()
                second.begin()
                assert second.remove(first.member) == second.view().epoch
                with pytest.raises(WorkerNotMemberError):
                    first.begin()
                assert first.join().source == second.member
                assert first.begin() == second.begin()
                client.register("b", "a newer process")
                with pytest.raises(IncarnationSupersededError):
                    second.begin()

        await asyncio.to_thread(body)


def test_a_coordinator_that_stays_away_is_given_up() -> None:
    with pytest.raises(UnavailableError):
        CoordinatorRounds.connect("127.0.0.1:9", CLAN, definition(), "w", give_up_seconds=0.0)
