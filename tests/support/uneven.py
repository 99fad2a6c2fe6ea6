"""Ranks on gloo that train on uneven shares: a script for real processes, and the one process that they must match."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from chronos_common.data.torch import (
    BalancedBatchSampler,
    Dataset,
    DistributedSampler,
    Feedback,
    TorchExchange,
    UnevenBatchNormWarning,
    weigh_gradients,
)
from chronos_common.errors import ConfigurationError

WORLD = 2
FEATURES = 5
SAMPLES = 19
BATCH = 3


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """Rows of a fixed problem; the last step of an epoch has one sample for two ranks."""

    def __init__(self, dtype: torch.dtype) -> None:
        draw = torch.Generator().manual_seed(5)
        self.x = torch.randn(SAMPLES, FEATURES, generator=draw, dtype=torch.float64).to(dtype)
        self.y = torch.randn(SAMPLES, generator=draw, dtype=torch.float64).to(dtype)

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]

    def sizes(self) -> Any:
        """One sample in four weighs as much as nine others."""
        return np.where(np.arange(SAMPLES) % 4 == 0, 9.0, 1.0)


def network(dtype: torch.dtype) -> nn.Module:
    """The same on every rank."""
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, 1)).to(dtype)


def mean_loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error, ()."""
    loss: Tensor = (module(x).squeeze(-1) - y).square().mean()
    return loss


def gradient(module: nn.Module) -> list[float]:
    """All gradients in one list."""
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]).tolist()


def balanced(rows: Rows, rank: int, world: int, accumulate: int = 1) -> BalancedBatchSampler:
    """A dynamic sampler without measured speeds."""
    sampler = DistributedSampler(rows, world, rank, batch_size=BATCH, kind="dynamic", seed=3)
    return BalancedBatchSampler(sampler, accumulate=accumulate)


def weighted_gradients(rank: int, *, dtype: torch.dtype, hook: bool, accumulate: int) -> Any:
    """Gradient of every optimiser step of an epoch, and this rank's counts."""
    rows = Rows(dtype)
    ddp = DistributedDataParallel(network(dtype))
    reduction = weigh_gradients(ddp) if hook else None
    batches = balanced(rows, rank, WORLD, accumulate)
    found = []
    for (x, y), share in batches.follow(DataLoader(rows, batch_sampler=batches)):
        ddp.require_backward_grad_sync = share.last
        loss = mean_loss(ddp, x, y)
        scaled = loss * share.weight if reduction is None else reduction.scale(loss, share.count)
        torch.autograd.backward(scaled)
        if share.last:
            found.append({"gradient": gradient(ddp), "count": share.count})
            ddp.zero_grad()
    return found


def feedback(rank: int) -> Any:
    """Samples of each step on this rank, while rank 1 takes four times as long for the same cost."""
    rows = Rows(torch.float32)
    sampler = DistributedSampler(
        rows, WORLD, rank, batch_size=BATCH, kind="dynamic", feedback=Feedback(TorchExchange())
    )
    batches = BalancedBatchSampler(sampler)
    found = []
    for epoch in range(3):
        batches.set_epoch(epoch)
        for _, share in batches.follow(DataLoader(rows, batch_sampler=batches)):
            share.finish(0.01 + share.cost * (4.0 if rank else 1.0))
            found.append({"indices": share.indices.tolist(), "counts": share.plan.counts.tolist()})
    return found


def disagreement(rank: int) -> str:
    """What is said when the ranks' seeds differ."""
    try:
        DistributedSampler(
            Rows(torch.float32), WORLD, rank, batch_size=BATCH, seed=rank, feedback=Feedback(TorchExchange())
        )
    except ConfigurationError as error:
        return str(error)
    return "nothing"


def batch_norm(rank: int) -> Any:
    """Warnings of a network with batch normalisation, and the hook's seconds by a clock of whole numbers."""
    ticks = iter(range(100))
    module = nn.Sequential(nn.Linear(FEATURES, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    ddp = DistributedDataParallel(module)
    reduction = weigh_gradients(ddp, clock=lambda: float(next(ticks)))
    seconds = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for count in (3, 2 + rank, 2 + rank, 2 + rank):
            reduction.start()
            x = torch.ones(count, FEATURES)
            torch.autograd.backward(reduction.scale(mean_loss(ddp, x, torch.ones(count)), count))
            seconds.append(reduction.seconds)
    return {
        "warnings": [str(w.message) for w in caught if w.category is UnevenBatchNormWarning],
        "seconds": seconds,
    }


SCENARIOS: dict[str, Callable[[int], Any]] = {
    **{
        f"{how}-{name}-{accumulate}": partial(
            weighted_gradients, dtype=dtype, hook=how == "hook", accumulate=accumulate
        )
        for how in ("weight", "hook")
        for name, dtype in (("float64", torch.float64), ("float32", torch.float32))
        for accumulate in (1, 2)
    },
    "feedback": feedback,
    "disagreement": disagreement,
    "batch_norm": batch_norm,
}


def main(rank: int, folder: Path) -> None:
    """One rank: everything, into a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=WORLD)
    found = {name: scenario(rank) for name, scenario in SCENARIOS.items()}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def run_ranks(folder: Path) -> list[dict[str, Any]]:
    """Starts the ranks and returns what each found."""
    command = [sys.executable, "-W", "error::UserWarning", "-m", "tests.support.uneven"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(folder)],
            env=environment,
            cwd=Path(__file__).resolve().parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORLD)
    ]
    errors = []
    for rank in ranks:
        _, error = rank.communicate(timeout=100)
        errors.append(error)
    assert all(rank.returncode == 0 for rank in ranks), "\n".join(errors)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
