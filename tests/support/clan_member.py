"""A ``Clan`` on a coordinator in a process of its own: ``python -m tests.support.clan_member '{"worker": "a", ...}'``.

Every line on stdout is a JSON object: one for each step, and at the end one with the digest of the weights.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.nn.functional import mse_loss
from torch.utils.data import TensorDataset

from chronos_common.clan import FloatAllele
from chronos_worker.clan import Clan, ClanConnection
from chronos_worker.peers.state import checksum
from tests.support.clients import BUDGET


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a member shall do.

    Attributes:
        worker: its name.
        address: of the coordinator.
        member: the place that it wants; -1: any.
        size: places.
        pause: seconds that each step takes at least.
        competitive: whether a specialised gene is declared.
        sick: step of the training in which its loss is NaN.
    """

    worker: str
    address: str
    clan: str = "clan"
    member: int = -1
    size: int = 4
    steps: int = 400
    round_length: int = 20
    pause: float = 0.0
    competitive: bool = False
    sick: int = -1
    seed: int = 5
    gather_seconds: float = 0.0

    def text(self) -> str:
        return json.dumps(asdict(self))


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps({**facts, "at": time.time()}) + "\n")
    sys.stdout.flush()


def problem(seed: int) -> tuple[torch.nn.Module, TensorDataset, TensorDataset]:
    """A small network, and samples of a noisy function: to train on, and to validate on."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    inputs = torch.randn(768, 8)
    targets = torch.sin(inputs.sum(dim=1, keepdim=True)) + 0.1 * torch.randn(768, 1)
    return model, TensorDataset(inputs[:512], targets[:512]), TensorDataset(inputs[512:], targets[512:])


def make_clan(
    orders: Orders, model: torch.nn.Module, optimizer: torch.optim.Optimizer, **settings: Any
) -> Clan:
    genes = {"noise": FloatAllele(value=0.1, domain=(0.0, 0.5), specialised=True)}
    return Clan(
        model,
        optimizer,
        genes=genes if orders.competitive else None,
        autobind=["adamw"],
        round_length=orders.round_length,
        duty_cycle=0.3,
        population_size=orders.size,
        total_steps=orders.steps,
        seed=orders.seed,
        **settings,
    )


def train(orders: Orders, clan: Clan, model: torch.nn.Module, train_set: Any, held_out: Any) -> None:
    loader = clan.loader(train_set, batch_size=8)
    member = clan.round()
    for inputs, targets in loader:
        plan = member.plan
        place = [plan.round, clan_step(member)]
        time.sleep(orders.pause)
        with member.sync_context():
            loss = mse_loss(member.model(inputs), targets)
            if plan.first_step + clan_step(member) == orders.sick:
                loss = loss * float("nan")
            torch.autograd.backward(loss)
        member.optimizer.step()
        member.optimizer.zero_grad()
        member.step()
        say(round=place[0], step=place[1], phase=member.phase.kind, total=plan.first_step + place[1])
        if member.done:
            with torch.no_grad():
                loss = mse_loss(member.model(held_out.tensors[0]), held_out.tensors[1])
            decision = clan.step(loss)
            say(closed=decision.round, ranking=decision.ranking, loss=float(loss))
            if clan.finished:
                break
            member = clan.round()


def clan_step(member: Any) -> int:
    return int(member._progress.step)


def main(text: str) -> None:
    orders = Orders(**json.loads(text))
    torch.set_num_threads(1)
    model, train_set, held_out = problem(orders.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    connection = ClanConnection(
        address=orders.address,
        clan=orders.clan,
        worker=orders.worker,
        member=None if orders.member < 0 else orders.member,
        deadlines=BUDGET,
        gather_seconds=orders.gather_seconds,
    )
    with make_clan(orders, model, optimizer, coordinator=connection) as clan:
        say(begun=orders.worker)
        if not clan.finished:
            train(orders, clan, model, train_set, held_out)
    with torch.no_grad():
        loss = float(mse_loss(model(held_out.tensors[0]), held_out.tensors[1]))
    say(finished=orders.worker, digest=checksum(dict(model.named_parameters())), loss=loss)


if __name__ == "__main__":
    main(sys.argv[1])
