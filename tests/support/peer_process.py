"""A member of a peer group in a process of its own: trains a small model and says on stdout what happens.

``python -m tests.support.peer_process '{"name": "a", ...}'``; see :class:`Orders`. Every line on stdout is a JSON
object: one for each step, and at the end one with the digest of the state.
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

from chronos_common.fleet import FleetConfig, GroupConfig
from chronos_common.wire import DeadlineConfig
from chronos_worker.peers import ModuleState, PeerConfig, PeerGroup, StoreLink
from chronos_worker.peers.links import GroupLink
from chronos_worker.peers.state import checksum
from chronos_worker.peers.stores import PrefixStore, TCPStore


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a member shall do.

    Attributes:
        name: its name; its data follow from it.
        port: of the store that keeps the group, or of the coordinator.
        keeper: which of them.
        steps: when it is done; a line with another number on stdin changes that.
        first: members of the first epoch.
        pause: seconds that each step takes at least.
        die_in: step in which it kills itself between the collectives of the gradients and their application.
    """

    name: str
    port: int
    keeper: str = "store"
    group: str = "group"
    steps: int = 1_000_000
    first: int = 3
    pause: float = 0.0
    die_in: int = -1
    compression: str = "none"
    replicas: bool = True
    heartbeat_seconds: float = 0.1
    timeout_seconds: float = 0.6
    budget_seconds: float = 10.0

    def text(self) -> str:
        return json.dumps(asdict(self))


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps({**facts, "at": time.time()}) + "\n")
    sys.stdout.flush()


class Goal:
    """How far to go, as stdin says; it ends when everybody may leave."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.closed = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            self.steps = int(line)
        self.closed.set()


def make_link(orders: Orders, deadlines: DeadlineConfig) -> GroupLink:
    config = GroupConfig(first_members=orders.first)
    if orders.keeper == "coordinator":
        from chronos_worker.peers.coordinator_link import CoordinatorLink

        return CoordinatorLink(
            f"127.0.0.1:{orders.port}", orders.group, orders.name, config=config, deadlines=deadlines
        )
    store = TCPStore("127.0.0.1", orders.port, is_master=False, wait_for_workers=False)
    fleet = FleetConfig(heartbeat_seconds=orders.heartbeat_seconds, timeout_seconds=orders.timeout_seconds)
    return StoreLink(PrefixStore(orders.group, store), orders.name, config=config, fleet=fleet)


def main(text: str) -> None:
    orders = Orders(**json.loads(text))
    torch.set_num_threads(1)
    torch.manual_seed(sum(orders.name.encode()))  # another start for each: the group makes them equal
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    inputs = torch.randn(64, 8)
    targets = inputs.sum(dim=1, keepdim=True)
    deadlines = DeadlineConfig(budget_seconds=orders.budget_seconds)
    group = PeerGroup(
        make_link(orders, deadlines),
        state=ModuleState(model, optimizer),
        config=PeerConfig(bucket_bytes=256, compression=orders.compression, replicas=orders.replicas),
        deadlines=deadlines,
    )

    def gradients() -> list[torch.Tensor]:
        time.sleep(orders.pause)
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        torch.autograd.backward(loss)
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    def apply() -> None:
        if group.steps == orders.die_in:
            os.kill(os.getpid(), signal.SIGKILL)
        optimizer.step()

    with group:
        say(joined=orders.name, step=group.steps, epoch=group.epoch.number, members=group.members)
        goal = Goal(orders.steps)
        while group.steps < goal.steps:
            before = group.steps
            group.step(gradients, apply)
            say(
                step=group.steps,
                done=group.steps - before,
                epoch=group.epoch.number,
                members=group.members,
            )
        # A step without content: whoever has done it knows that everybody has done the last one.
        group.transact(lambda _: None, lambda _: None)
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        say(finished=orders.name, digest=checksum(group_tensors(model, optimizer)), loss=loss.item())
        goal.closed.wait()


def group_tensors(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return ModuleState(model, optimizer).capture()[0]


if __name__ == "__main__":
    main(sys.argv[1])
