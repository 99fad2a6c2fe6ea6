"""Scripts that name neither transport nor coordinator, in one process: one member, or all of them in turn."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.utils.data import TensorDataset

from chronos_common.clan import ClanConfig, preset
from chronos_common.errors import ConfigurationError, InvalidRequestError
from chronos_worker.clan import Clan, Lockstep, Replicated, clan_loader, run_members
from chronos_worker.clan.folded import FoldedClan

SIZE = 4


def samples(size: int, seed: int) -> TensorDataset:
    x = torch.randn(size, 5, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x[:, 0] > x[:, 1]).long())


TRAIN, VALID = samples(256, 0), samples(64, 1)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))


def validation_loss(model: nn.Module) -> float:
    model.eval()
    with torch.no_grad():
        loss = cross_entropy(model(VALID.tensors[0]), VALID.tensors[1]).item()
    model.train()
    return loss


def passes(clan: Clan, loader: Any) -> Iterator[float]:
    """The page's loop; each pass's fitness, or NaN."""
    member = clan.round()
    for batch, labels in loader:
        loss = cross_entropy(member.model(batch), labels)
        with member.sync_context():
            loss.backward()
        member.optimizer.step()
        member.optimizer.zero_grad()
        member.step()
        if member.done:
            fitness = validation_loss(member.model)
            clan.step(fitness)
            member = clan.round()
            yield fitness
        else:
            yield float("nan")


def made(transport: Lockstep | None = None, **settings: Any) -> tuple[Clan, nn.Module]:
    model = network()
    wanted = {
        "round_length": 6,
        "total_steps": 30,
        "autobind": ["adamw"],
        "population_size": SIZE,
        **settings,
    }
    optimizer = AdamW(model.parameters(), lr=1e-2, weight_decay=0.01)
    return Clan(model, optimizer, transport=transport, **wanted), model


def outcome(clan: Clan, model: nn.Module, found: list[float]) -> tuple[list[float], list[str], list[Tensor]]:
    assert isinstance(clan.keeper, Replicated)
    lineage = [birth.genome_id for birth in clan.keeper.state.births]
    return found, lineage, [tensor.detach().clone() for tensor in model.state_dict().values()]


def fitnesses(found: list[float]) -> list[float]:
    return [each for each in found if each == each]


def seldom() -> ClanConfig:
    return preset("clan_plus", population_size=SIZE, round_length=6, total_steps=30, average_every=2)


@pytest.mark.parametrize("algorithm", ["clan_plus", "published", "pbt", seldom()])
def test_members_in_turn_are_the_same_clan_as_members_in_threads(algorithm: str | ClanConfig) -> None:
    def body(transport: Lockstep) -> Any:
        clan, model = made(transport, algorithm=algorithm)
        return outcome(clan, model, fitnesses(list(passes(clan, clan.loader(TRAIN, 8)))))

    apart = run_members(SIZE, body)
    clan, model = made(algorithm=algorithm)
    assert isinstance(clan, FoldedClan)
    losses, lineage, weights = outcome(clan, model, fitnesses(list(passes(clan, clan.loader(TRAIN, 8)))))
    assert clan.finished
    assert lineage == apart[0][1]
    for rank in range(SIZE):
        assert losses[rank::SIZE] == apart[rank][0]
    assert all(torch.equal(one, other) for one, other in zip(weights, apart[0][2], strict=True))


def test_members_in_turn_train_while_there_is_a_step_left_too() -> None:
    clan, _ = made()
    batches = iter(clan.loader(TRAIN, 8))
    losses = []
    while not clan.finished:
        member = clan.round()
        while not member.done:
            batch, labels = next(batches)
            loss = cross_entropy(member.model(batch), labels)
            loss.backward()
            member.optimizer.step()
            member.optimizer.zero_grad()
            member.step()
        losses.append(validation_loss(member.model))
        clan.step(losses[-1])
    expected, _ = made()
    assert losses == fitnesses(list(passes(expected, expected.loader(TRAIN, 8))))


def test_members_in_turn_go_on_from_their_checkpoint(tmp_path: Path) -> None:
    clan, model = made()
    whole = outcome(clan, model, fitnesses(list(passes(clan, clan.loader(TRAIN, 8)))))
    clan, model = made()
    running = passes(clan, clan.loader(TRAIN, 8))
    for _ in range(SIZE * 5):
        next(running)
    while clan.turn:  # the evaluation of a round takes a pass for each member but the first
        next(running)
    clan.save(tmp_path)
    next(running)
    with pytest.raises(InvalidRequestError, match="1 of 4"):
        clan.save(tmp_path)
    clan, model = made()
    loader = clan.loader(TRAIN, 8)
    assert clan.resume(tmp_path)
    again = outcome(clan, model, fitnesses(list(passes(clan, loader))))
    assert again[0] == whole[0][-len(again[0]) :]
    assert again[1] == whole[1]
    assert all(torch.equal(one, other) for one, other in zip(again[2], whole[2], strict=True))


def test_a_clan_with_an_open_end_is_finished_by_its_script() -> None:
    def body(transport: Lockstep) -> Any:
        clan, model = made(transport, total_steps=None)
        for _ in range(3):
            found = list(passes(clan, clan.loader(TRAIN, 8)))
            assert found
        assert clan.last_decision is not None
        clan.finish()
        assert list(clan.loader(TRAIN, 8)) == []
        return clan.last_decision.ranking[0], outcome(clan, model, [])[2], validation_loss(model)

    found = run_members(SIZE, body)
    for _, weights, loss in found:
        assert loss < 0.75 * validation_loss(network())
        assert all(torch.equal(one, other) for one, other in zip(weights, found[0][1], strict=True))


def test_a_loader_made_before_joins_the_next_clan_of_its_thread() -> None:
    early, forgotten = clan_loader(TRAIN, 8), clan_loader(TRAIN, 8)
    with pytest.raises(InvalidRequestError, match="make the Clan before"):
        next(iter(early))
    del forgotten
    clan, _ = made(population_size=1)
    other, _ = made(population_size=1)
    assert fitnesses(list(passes(clan, early)))
    assert clan.finished
    assert not other.finished


def test_members_in_turn_cannot_accumulate_each_in_its_own_measure() -> None:
    with pytest.raises(ConfigurationError, match="torchrun"):
        made(autobind=["adamw", "gradient_accumulation"])


@pytest.mark.slow
def test_the_loops_of_the_api_page_run_in_one_process() -> None:
    found = runpy.run_module("tests.support.clan_page")
    assert found["genes"] == {"lr", "weight_decay", "betas/0", "betas/1", "eps"}
    before = found["get_validation_loss"](found["MyModel"](), found["val_loader"])
    assert len(found["first"]) == 3
    assert [before, *found["first"]] == sorted([before, *found["first"]], reverse=True)
    assert before > found["losses"][0]


def test_weights_shared_seldom_are_refused_on_a_coordinator() -> None:
    model = network()
    with pytest.raises(ConfigurationError, match="average_every is 2.*torchrun"):
        Clan(
            model,
            AdamW(model.parameters()),
            autobind=["adamw"],
            algorithm=seldom(),
            coordinator="localhost:1",
            clan="seldom",
            worker="w",
        )
