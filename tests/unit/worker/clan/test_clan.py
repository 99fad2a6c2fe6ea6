"""The clan in a training script: the loop of ClanTune's API page, determinism, phases, cloning, checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW
from torch.utils.data import TensorDataset

from chronos_common.clan import FloatAllele, LogFloatAllele, RoundClosed, preset
from chronos_common.errors import ConfigurationError, CorruptStateError, InvalidRequestError
from chronos_worker.clan import Clan, Replicated, Solo, Transport, run_members

MEMBERS, TOTAL = 4, 48


def samples(size: int, seed: int) -> TensorDataset:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 5, generator=draw)
    return TensorDataset(x, (x[:, 0] > x[:, 1]).long())


TRAIN, VALID = samples(256, 0), samples(64, 1)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))


def validation_loss(model: nn.Module) -> float:
    model.eval()
    with torch.no_grad():
        x, y = VALID.tensors
        loss = cross_entropy(model(x), y).item()
    model.train()
    return loss


@dataclass
class Trained:
    weights: list[Tensor]
    lineage: list[str]
    losses: list[float] = field(default_factory=list)
    decisions: list[RoundClosed] = field(default_factory=list)


def train(transport: Transport, folder: Path | None = None, stop_at: int = 10**6, **settings: Any) -> Trained:
    """The loop of ClanTune's API page, word for word but for the import, the data and the transport."""
    model = network()
    optimizer = AdamW(model.parameters(), lr=1e-2, weight_decay=0.01)
    clan = Clan(
        model=model,
        optimizer=optimizer,
        transport=transport,
        **{"round_length": 8, "total_steps": TOTAL, "autobind": ["adamw"], **settings},
    )
    loader = clan.loader(TRAIN, batch_size=8)
    if folder is not None:
        clan.resume(folder)
    found = Trained(weights=[], lineage=[])
    member = clan.round()
    for steps, (batch, labels) in enumerate(loader, start=1):
        logits = member.model(batch)
        loss = cross_entropy(logits, labels)
        with member.sync_context():
            loss.backward()
        member.optimizer.step()
        member.optimizer.zero_grad()
        member.step()
        if member.done:
            found.losses.append(validation_loss(member.model))
            found.decisions.append(clan.step(found.losses[-1]))
            member = clan.round()
        if steps == stop_at and folder is not None:
            clan.save(folder)
            break
    found.weights = [parameter.detach().clone() for parameter in model.state_dict().values()]
    assert isinstance(clan.keeper, Replicated)
    found.lineage = [birth.genome_id for birth in clan.keeper.state.births]
    return found


def same(one: list[Trained], other: list[Trained]) -> bool:
    return all(
        a.lineage == b.lineage and all(torch.equal(x, y) for x, y in zip(a.weights, b.weights, strict=True))
        for a, b in zip(one, other, strict=True)
    )


def test_the_loop_of_the_api_page_trains_a_clan_of_one() -> None:
    found = train(Solo())
    assert found.losses[-1] < 0.75 * validation_loss(network())
    assert found.decisions[-1].finished


@pytest.mark.parametrize("algorithm", ["clan_plus", "published", "pbt", "data_parallel_cosine"])
def test_the_same_seed_gives_the_same_lineage_and_weights_bit_for_bit(algorithm: str) -> None:
    first, second = (run_members(MEMBERS, lambda t: train(t, algorithm=algorithm)) for _ in range(2))
    assert same(first, second)
    assert first[0].decisions == first[3].decisions
    assert min(first[0].losses) < 0.75 * validation_loss(network())
    other = run_members(MEMBERS, lambda t: train(t, algorithm=algorithm, seed=5))
    assert other[0].lineage != first[0].lineage


def test_at_the_end_every_rank_holds_the_best_members_averaged_weights() -> None:
    found = run_members(MEMBERS, train)
    assert all(torch.equal(a, b) for t in found[1:] for a, b in zip(found[0].weights, t.weights, strict=True))
    best = found[0].decisions[-1].ranking[0]
    model = network()
    model.load_state_dict(dict(zip(model.state_dict(), found[0].weights, strict=True)))
    assert validation_loss(model) == pytest.approx(found[best].losses[-1], rel=1e-6)


@pytest.mark.parametrize("stop_at", [5, 8, 21])
def test_a_training_that_was_interrupted_goes_on_bit_for_bit(tmp_path: Path, stop_at: int) -> None:
    whole = run_members(2, train)
    run_members(2, lambda t: train(t, tmp_path, stop_at))
    assert same(whole, run_members(2, lambda t: train(t, tmp_path)))


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    train(Solo(), tmp_path, 5)
    (tmp_path / "member-0.json").write_text('{"revision": 1}')
    with pytest.raises(CorruptStateError, match="member 0"):
        train(Solo(), tmp_path)


class Handmade:
    """A clan whose batches and losses a test chooses; weights of one number."""

    def __init__(self, transport: Transport, **settings: Any) -> None:
        self.weight = nn.Parameter(torch.zeros(()))
        self.model = nn.ParameterList([self.weight])
        self.optimizer = SGD([self.weight], lr=1.0)
        self.clan = Clan(
            self.model, self.optimizer, transport=transport, **{"round_length": 4, "genes": GENES, **settings}
        )
        self.transport = transport

    def move(self, gradient: float) -> None:
        """One step with this gradient of one's own."""
        member = self.clan.round()
        with member.sync_context():
            (self.weight * gradient).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        member.step()


GENES = {
    "lr": LogFloatAllele(value=1.0, domain=(1e-3, 1e3)),
    "dropout": FloatAllele(value=0.2, domain=(0.0, 0.8), specialised=True),
}


def test_gradients_are_shared_while_cooperating_and_own_while_competing() -> None:
    def body(transport: Transport) -> list[float]:
        mine = Handmade(transport, algorithm="published", duty_cycle=0.5)
        positions = []
        for _ in range(4):
            mine.move(-1.0 - transport.rank)
            positions.append(mine.weight.item())
        return positions

    assert run_members(2, body) == [[1.5, 3.0, 4.0, 5.0], [1.5, 3.0, 5.0, 7.0]]


def test_weights_are_shared_every_other_step_and_where_cooperation_ends() -> None:
    def body(transport: Transport) -> list[float]:
        config = preset(
            "published", population_size=2, round_length=5, duty_cycle=0.4, average_every=2, total_steps=10
        )
        mine = Handmade(transport, algorithm=config)
        positions = []
        for _ in range(5):
            mine.move(-1.0 - transport.rank)
            positions.append(mine.weight.item())
        return positions

    assert run_members(2, body) == [[1.0, 3.0, 4.5, 5.5, 6.5], [2.0, 3.0, 4.5, 6.5, 8.5]]


def test_the_loader_shards_while_cooperating_and_is_common_while_competing() -> None:
    data = TensorDataset(torch.arange(64))

    def body(transport: Transport) -> list[list[int]]:
        mine = Handmade(transport, algorithm="published", duty_cycle=0.5)
        mine.clan.round()
        found = []
        for (batch,) in mine.clan.loader(data, batch_size=4):
            found.append(batch.tolist())
            if mine.clan.round().done:
                break
            mine.move(0.0)
        return found[:4]

    one, other = run_members(2, body)
    assert not set(one[0] + one[1]) & set(other[0] + other[1])
    assert one[2:] == other[2:]
    assert len({*one[0], *one[1], *one[2], *one[3], *other[0], *other[1]}) == 24


def test_specialised_genes_are_at_consensus_until_members_compete() -> None:
    def body(transport: Transport) -> list[float]:
        mine = Handmade(transport, algorithm="published", duty_cycle=0.5)
        for number in range(2):
            for _ in range(4):
                mine.move(0.0)
            mine.clan.step(float(transport.rank + number))
        found = []
        for _ in range(4):
            found.append(mine.clan.round().get_gene("dropout"))
            mine.move(0.0)
        return found

    found = run_members(4, body)
    assert len({each[0] for each in found}) == 1
    assert len({each[2] for each in found}) > 1


def test_the_worst_takes_weights_and_optimiser_state_of_the_best() -> None:
    def body(transport: Transport) -> tuple[float, float]:
        mine = Handmade(transport, algorithm="pbt")
        for _ in range(4):
            mine.move(-float(transport.rank))
        decision = mine.clan.step(float(transport.rank))
        assert [(move.target, move.source) for move in decision.moves] == [(3, 0)]
        mine.clan.round()
        return mine.weight.item(), mine.optimizer.param_groups[0]["lr"]

    found = run_members(4, body)
    assert [weight for weight, _ in found] == [0.0, 4.0, 8.0, 0.0]
    assert [rate for _, rate in found[:3]] == [1.0] * 3
    assert found[3][1] != 1.0


def test_fitness_is_measured_on_averaged_weights_and_training_goes_on_from_its_own() -> None:
    def body(transport: Transport) -> tuple[float, float, float]:
        mine = Handmade(transport, total_steps=400, round_length=4)
        for _ in range(20):
            mine.move(-1.0)
        shown = mine.weight.item()
        decision = mine.clan.step(float(transport.rank != 1))
        assert decision.moves
        return shown, mine.weight.item(), mine.optimizer.param_groups[0]["lr"]

    found = run_members(3, body)
    assert found[1][0] == pytest.approx(sum_of_average(found[1][1] / 20, 20), rel=1e-5)
    assert {weight for _, weight, _ in found} == {found[1][1]}


def sum_of_average(rate: float, steps: int) -> float:
    average = 0.0
    for step in range(steps):
        decay = (1 + step) / (10 + step)
        average += (1 - decay) * (rate * (step + 1) - average)
    return average


def test_groups_keep_their_proportions_and_the_schedule_multiplies_the_rate() -> None:
    slow, fast = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = AdamW([{"params": [slow], "lr": 1e-3, "weight_decay": 0.0}, {"params": [fast], "lr": 1e-2}])
    model = nn.ParameterList([slow, fast])
    clan = Clan(model, optimizer, autobind=["adamw"], round_length=10, total_steps=100, transport=Solo())
    member = clan.round()
    assert set(member.genome.alleles) == {"lr", "weight_decay", "betas/0", "betas/1", "eps"}
    low, high = optimizer.param_groups
    assert low["lr"] / high["lr"] == pytest.approx(0.1)
    assert (low["weight_decay"], high["weight_decay"]) == (0.0, pytest.approx(0.01))
    assert high["lr"] == pytest.approx(0.5e-2)
    assert high["betas"] == (0.9, 0.999)


def test_what_cannot_be_is_refused_with_a_reason() -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(ConfigurationError, match="betas/0"):
        Clan(model, optimizer, autobind=["adamw"])
    with pytest.raises(ConfigurationError, match="choose of"):
        Clan(model, optimizer, autobind=["lion"])
    with pytest.raises(ConfigurationError, match="3, but 1 members"):
        Clan(model, optimizer, autobind=["sgd"], population_size=3, transport=Solo())
    clan = Clan(model, optimizer, autobind=["sgd", "gradient_accumulation"], round_length=2)
    with pytest.raises(InvalidRequestError, match="round is not done|no round"):
        clan.step(0.0)
    member = clan.round()
    assert member.get_gene("num_grad_accum") == 1
    with pytest.raises(InvalidRequestError, match="no gene"):
        member.get_gene("warmth")
    with pytest.raises(ConfigurationError, match="num_workers"):
        clan.loader(TRAIN, batch_size=2, num_workers=2)
    with pytest.raises(ConfigurationError, match="hold one step"):
        clan.loader(TRAIN, batch_size=1000)
    member.step()
    member.step()
    assert member.done
    with pytest.raises(InvalidRequestError, match="no step left"):
        member.step()
