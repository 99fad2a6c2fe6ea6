"""Clans over a coordinator and real peer groups, members in threads: who comes, who leaves, what bits come out."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import mse_loss

from chronos_common.clan import RoundClosed
from chronos_common.wire import ClientSecurity
from chronos_worker.clan import Clan, ClanConnection, run_members
from tests.support.clan_member import Orders, make_clan, problem, validation
from tests.support.polling import poll
from tests.support.services import serving

SIZE = 3


class Loop:
    """A training script's member: its loop, and what came out."""

    def __init__(self, orders: Orders, **settings: Any) -> None:
        self.orders = orders
        self.model, self.data, self.held_out = problem(orders.seed)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-3)
        self.clan: Clan = make_clan(orders, self.model, optimizer, **settings)
        self.decisions: list[RoundClosed] = []
        self.phases: list[str] = []

    def run(self, until: int = 10**6, save: Path | None = None, resume: Path | None = None) -> Loop:
        """Trains to the end, or for so many steps; from a checkpoint, and leaves one where it stops."""
        clan = self.clan
        loader = clan.loader(self.data, batch_size=8)
        if resume is not None:
            assert clan.resume(resume)
        member = clan.round()
        for inputs, targets in loader:
            self.phases.append(member.phase.kind)
            with member.sync_context():
                loss = mse_loss(member.model(inputs), targets)
                sick = member.plan.first_step + member.made == self.orders.sick
                torch.autograd.backward(loss * (float("nan") if sick else 1.0))
            member.optimizer.step()
            member.optimizer.zero_grad()
            member.step()
            if len(self.phases) == until:
                if save is not None:
                    clan.save(save)
                break
            if member.done:
                self.decisions.append(clan.step(validation(member.model, self.held_out)))
                if clan.finished:
                    break
                member = clan.round()
        clan.close()
        return self

    @property
    def weights(self) -> list[torch.Tensor]:
        return [parameter.detach() for parameter in self.model.parameters()]


def connected(orders: Orders, security: ClientSecurity | None = None) -> Loop:
    connection = ClanConnection(
        address=orders.address,
        clan=orders.clan,
        worker=orders.name,
        member=None if orders.member < 0 else orders.member,
        gather_seconds=orders.gather_seconds,
        give_up_seconds=30.0,
        security=security,
    )
    return Loop(orders, coordinator=connection)


def trained(orders: Orders) -> Loop:
    return connected(orders).run()


async def together(*loops: Any) -> list[Any]:
    with ThreadPoolExecutor(len(loops)) as threads:
        loop = asyncio.get_running_loop()
        return list(await asyncio.gather(*(loop.run_in_executor(threads, one) for one in loops)))


async def test_the_same_bits_as_in_lockstep_whoever_comes_first(tmp_path: Path) -> None:
    """Means are added up by place: neither the order of arrival nor the ranks in the group change a bit."""
    torch.manual_seed(0)
    orders: dict[str, Any] = {"size": SIZE, "steps": 80, "round_length": 30, "competitive": True}
    async with serving(tmp_path) as app:
        everyone = [
            Orders(name=f"w{place}", address=app.address, member=place, **orders)
            for place in reversed(range(SIZE))
        ]
        served = await together(*(partial(trained, member) for member in everyone))
        served.reverse()
    alone = await asyncio.to_thread(
        run_members,
        SIZE,
        lambda transport: Loop(
            Orders(name="", address="", member=transport.rank, **orders), transport=transport
        ).run(),
    )
    for mine, other in zip(served, alone, strict=True):
        assert {"fan_out", "cooperative", "competitive"} <= set(mine.phases)
        assert mine.phases == other.phases
        assert mine.decisions == other.decisions
        assert all(torch.equal(a, b) for a, b in zip(mine.weights, other.weights, strict=True))


async def test_a_clan_begins_without_those_who_never_come_and_ends_with_the_last_survivor(
    tmp_path: Path,
) -> None:
    orders: dict[str, Any] = {"size": 3, "steps": 60, "round_length": 12, "gather_seconds": 0.5}
    async with serving(tmp_path) as app:
        first, second = await together(
            *(partial(connected, Orders(name=name, address=app.address, **orders)) for name in "ab")
        )
        await together(first.run, lambda: second.run(until=22))
    assert len(second.phases) == 22
    assert first.clan.finished
    assert len(first.decisions[0].ranking) == 2
    assert len(first.decisions[-1].ranking) == 1


async def test_a_late_worker_comes_in_while_the_others_compete(tmp_path: Path) -> None:
    orders: dict[str, Any] = {
        "size": 3,
        "round_length": 30,
        "steps": 240,
        "competitive": True,
        "gather_seconds": 0.3,
    }
    async with serving(tmp_path) as app:
        first, second, third = await together(
            *(partial(connected, Orders(name=name, address=app.address, **orders)) for name in "abc")
        )

        def late() -> Any:
            poll(lambda: "competitive" in first.phases, "the first competition", timeout_seconds=60.0)
            return third.run()

        await together(first.run, second.run, late)
    assert third.clan.finished
    assert len(first.decisions[0].ranking) == 2
    assert len(first.decisions[-1].ranking) == 3
    assert first.decisions[-1] == third.decisions[-1]
    assert all(torch.equal(a, b) for a, b in zip(first.weights, third.weights, strict=True))
