"""Gradients of members of which some have NaN or infinities: whose count, in threads and folded into one process."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chronos_worker.clan import Clan, Lockstep, Transport, run_members
from chronos_worker.clan.transport.flat import mean_in_place
from chronos_worker.clan.transport.gradients import share_gradients

SIZE, STEPS, SICK_STEP = 4, 48, 13
INPUTS = torch.randn(256, 5, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS[:, :1].sin()
DATA = torch.utils.data.TensorDataset(INPUTS, TARGETS)


def gradients(rank: int, damage: float | None) -> list[Tensor]:
    """Two dtypes: as many buckets."""
    draw = torch.Generator().manual_seed(rank)
    first, second = torch.randn(5, generator=draw), torch.randn(3, generator=draw, dtype=torch.float64)
    if damage is not None:
        second[1] = damage
    return [first, second]


def shared(damaged: dict[int, float]) -> list[list[Tensor]]:
    def body(transport: Transport) -> list[Tensor]:
        own = gradients(transport.rank, damaged.get(transport.rank))
        share_gradients(own, transport)
        return own

    return run_members(3, body)


def test_finite_gradients_have_the_bits_of_their_mean() -> None:
    def plain(transport: Transport) -> list[Tensor]:
        own = gradients(transport.rank, None)
        mean_in_place(own, transport)
        return own

    for mine, other in zip(shared({}), run_members(3, plain), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize("damage", [math.nan, math.inf, -math.inf])
def test_whoever_has_gradients_that_are_not_finite_is_left_out_of_all_of_them(damage: float) -> None:
    found = shared({1: damage})
    first, third = gradients(0, None), gradients(2, None)
    for mine in found:
        assert all(torch.equal(a, b) for a, b in zip(mine, found[0], strict=True))
        for one, a, b in zip(mine, first, third, strict=True):
            torch.testing.assert_close(one, (a + b) / 2)


def test_the_last_one_with_finite_gradients_is_followed_and_without_any_nobody_hides_it() -> None:
    for mine in shared({0: math.nan, 1: math.inf}):
        for one, own in zip(mine, gradients(2, None), strict=True):
            torch.testing.assert_close(one, own)
    for mine in shared(dict.fromkeys(range(3), math.nan)):
        assert not torch.isfinite(mine[1]).all()


def trained(transport: Lockstep | None = None, *, sick: int | None = 2, forever: bool = False) -> Any:
    """The end of a training in which one member's loss is NaN: at one step, or from then on."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1))
    clan = Clan(
        model,
        torch.optim.AdamW(model.parameters(), lr=1e-2),
        autobind=["adamw"],
        round_length=10,
        total_steps=STEPS,
        population_size=SIZE,
        transport=transport,
    )
    turns = 1 if transport is not None else SIZE
    loader, member, passes = clan.loader(DATA, batch_size=8), clan.round(), 0
    decisions = []
    for x, y in loader:
        rank = passes % turns if transport is None else transport.rank
        at = member.plan.first_step + member.made
        ill = rank == sick and (at >= SICK_STEP if forever else at == SICK_STEP)
        with member.sync_context():
            loss = nn.functional.mse_loss(member.model(x), y)
            torch.autograd.backward(loss * (math.nan if ill else 1.0))
        member.optimizer.step()
        member.optimizer.zero_grad()
        passes += not (member.done and transport is None)
        member.step()
        if member.done:
            with torch.no_grad():
                fitness = float(nn.functional.mse_loss(member.model(INPUTS), TARGETS))
            decisions.append(clan.step(math.nan if forever and ill else fitness))
            member = clan.round()
    return decisions, fitness, [parameter.detach().clone() for parameter in model.parameters()]


def test_a_nan_at_one_member_poisons_nobody() -> None:
    healthy, once = run_members(SIZE, lambda t: trained(t, sick=None)), run_members(SIZE, trained)
    for _, fitness, weights in once:
        assert all(torch.isfinite(weight).all() for weight in weights)
        assert fitness < 1.3 * healthy[0][1]


def test_a_member_whose_loss_stays_nan_is_ranked_last() -> None:
    for decisions, _, weights in run_members(SIZE, lambda t: trained(t, forever=True)):
        assert all(decision.ranking[-1] == 2 for decision in decisions[-2:])
        assert all(torch.isfinite(weight).all() for weight in weights)


def test_members_in_turn_leave_out_the_same() -> None:
    _, _, weights = trained()
    _, _, others = run_members(SIZE, trained)[0]
    assert all(torch.equal(a, b) for a, b in zip(weights, others, strict=True))
