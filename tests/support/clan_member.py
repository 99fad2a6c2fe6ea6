"""A ``Clan`` on a coordinator in a process of its own: ``python -m tests.support.clan_member '{"name": "a", ...}'``.

Every line on stdout is a JSON object: one for each step and for each round, and at the end one with the digest of the
weights. A closed stdin ends it in mid-training.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.nn.functional import mse_loss
from torch.utils.data import TensorDataset

from chronos_common.clan import FloatAllele
from chronos_common.runtime import LoggingConfig, configure_logging
from chronos_worker.clan import Clan, ClanConnection, Transport
from chronos_worker.clan.served import Served
from chronos_worker.clan.weights import Weights
from chronos_worker.peers.state import checksum
from tests.support.clients import BUDGET


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a member shall do.

    Attributes:
        name: of the worker.
        address: of the coordinator.
        member: the place that it wants; -1: any.
        size: places.
        steps: of the training; 0: without end.
        pause: seconds that each step takes at least.
        competitive: whether a specialised gene is declared.
        sick: step of the training in which its loss is NaN.
        dies: where it kills itself: ``"fan_out"``, in the middle of it, or ``"copies"``, between two of those that
            the selection of the first round after it makes; ``""``: nowhere.
    """

    name: str
    address: str
    clan: str = "clan"
    member: int = -1
    size: int = 4
    steps: int = 0
    round_length: int = 20
    pause: float = 0.0
    competitive: bool = False
    sick: int = -1
    dies: str = ""
    seed: int = 5
    gather_seconds: float = 0.0

    def text(self) -> str:
        return json.dumps(asdict(self))


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps({**facts, "at": time.time()}) + "\n")
    sys.stdout.flush()


def problem(seed: int) -> tuple[torch.nn.Module, TensorDataset, TensorDataset]:
    """A small network, and samples of a noisy function: to train on, and to validate on."""
    draw = torch.Generator().manual_seed(seed)  # of its own: members may be threads of one process
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.3, 0.3, generator=draw)
    inputs = torch.randn(768, 8, generator=draw)
    targets = torch.sin(inputs.sum(dim=1, keepdim=True)) + 0.1 * torch.randn(768, 1, generator=draw)
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
        total_steps=orders.steps or None,
        seed=orders.seed,
        **settings,
    )


def train(orders: Orders, clan: Clan, train_set: TensorDataset, held_out: TensorDataset) -> None:
    """The loop of a training script, with a word on every step."""
    closed = threading.Event()
    threading.Thread(target=_listen, args=(closed,), daemon=True).start()
    loader = clan.loader(train_set, batch_size=8)
    member = clan.round()
    while not clan.finished and not closed.is_set():
        for inputs, targets in loader:
            number, step = member.plan.round, member.plan.first_step + member.made
            time.sleep(orders.pause)
            with member.sync_context():
                loss = mse_loss(member.model(inputs), targets)
                torch.autograd.backward(loss * (float("nan") if step == orders.sick else 1.0))
            member.optimizer.step()
            member.optimizer.zero_grad()
            kind = member.phase.kind
            member.step()
            senior = isinstance(clan.keeper, Served) and clan.keeper.transport.senior
            say(round=number, step=step, done=1, phase=kind, living=clan.living, senior=senior)
            if kind == orders.dies == "fan_out" and member.made == orders.round_length // 2:
                os.kill(os.getpid(), signal.SIGKILL)
            if member.done:
                if orders.dies == "copies" and kind != "fan_out":
                    die_at_copy()
                decision = clan.step(validation(member.model, held_out))
                say(decided=decision.round, ranking=decision.ranking)
                break
            if closed.is_set():
                break
        else:
            continue
        if not closed.is_set() and not clan.finished:
            member = clan.round()


def die_at_copy() -> None:
    """This process ends when it has made its first copy of another member's tensors, which the others have too."""
    real = Weights.received

    def received(self: Weights, transport: Transport, source: int) -> list[torch.Tensor]:
        real(self, transport, source)
        os.kill(os.getpid(), signal.SIGKILL)
        return []

    Weights.received = received  # type: ignore[method-assign]


def _listen(closed: threading.Event) -> None:
    sys.stdin.read()
    closed.set()


def validation(model: torch.nn.Module, held_out: TensorDataset) -> float:
    with torch.no_grad():
        return float(mse_loss(model(held_out.tensors[0]), held_out.tensors[1]))


def main(text: str) -> None:
    orders = Orders(**json.loads(text))
    configure_logging(LoggingConfig(format="json"))
    torch.set_num_threads(1)
    model, train_set, held_out = problem(orders.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    connection = ClanConnection(
        address=orders.address,
        clan=orders.clan,
        worker=orders.name,
        member=None if orders.member < 0 else orders.member,
        deadlines=BUDGET,
        gather_seconds=orders.gather_seconds,
    )
    with make_clan(orders, model, optimizer, coordinator=connection) as clan:
        say(begun=orders.name)
        if not clan.finished:
            train(orders, clan, train_set, held_out)
    say(
        finished=orders.name,
        digest=checksum(dict(model.named_parameters())),
        loss=validation(model, held_out),
    )


if __name__ == "__main__":
    main(sys.argv[1])
