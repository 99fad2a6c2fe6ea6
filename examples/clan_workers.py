"""A clan of four worker processes on a coordinator; one of them is killed half way, and the others go on.

python -m examples.clan_workers
"""

import os
import signal
import subprocess
import sys
from typing import Any

import torch
from torch.nn.functional import mse_loss
from torch.utils.data import TensorDataset

from chronos_coordinator import EmbeddedCoordinator
from chronos_worker.clan import Clan

STEPS = 200


def samples(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A sine of eight numbers, with noise."""
    inputs = torch.randn(512, 8, generator=torch.Generator().manual_seed(seed))
    return inputs, torch.sin(inputs.sum(dim=1, keepdim=True))


def train(address: str, name: str) -> None:
    """One worker; where ``coordinator`` is left out, the same script runs with ``torchrun``."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    inputs, targets = samples(1)
    settings: dict[str, Any] = {"population_size": 4, "round_length": 25, "total_steps": STEPS}
    with Clan(
        model,
        optimizer,
        autobind=["adamw"],
        coordinator=address,
        clan="sines",
        worker=name,
        **settings,
    ) as clan:
        loader, member = clan.loader(TensorDataset(*samples(0)), batch_size=16), clan.round()
        for batch, wanted in loader:
            with member.sync_context():
                torch.autograd.backward(mse_loss(member.model(batch), wanted))
            member.optimizer.step()
            member.optimizer.zero_grad()
            member.step()
            if name == "killed" and member.plan.first_step + member.made == STEPS // 2:
                os.kill(os.getpid(), signal.SIGKILL)
            if member.done:
                with torch.no_grad():
                    loss = mse_loss(member.model(inputs), targets)
                decision = clan.step(loss)
                print(f"{name}: round {decision.round}, {len(decision.ranking)} members, loss {loss:.4f}")
                if clan.finished:
                    break
                member = clan.round()


def main() -> None:
    """The coordinator, and the workers in processes of their own: elsewhere they are on many machines."""
    with EmbeddedCoordinator("chronos-data") as coordinator:
        workers = [
            subprocess.Popen([sys.executable, "-m", "examples.clan_workers", coordinator.address, name])
            for name in ("first", "second", "third", "killed")
        ]
        for worker in workers:
            worker.wait()


if __name__ == "__main__":
    train(*sys.argv[1:]) if sys.argv[1:] else main()
