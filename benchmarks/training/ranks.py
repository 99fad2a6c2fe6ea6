"""One rank of the training comparison: runs all jobs in turn and leaves what it found in a file.

Every step's computing is padded by a timer to a time that grows with the bytes of the share, so that the cores of this
machine do not decide who wins. The pad stands before ``backward``, and with it before the collective operation.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler as TorchSampler

from chronos_common.data.torch import (
    BalancedBatchSampler,
    DistributedSampler,
    Feedback,
    FeedbackConfig,
    TorchExchange,
    WeightedReduction,
    weigh_gradients,
)
from examples.uneven_text import Paragraphs, network, windows

WORLD = 4
SLOW_RANK = 3
SLOWDOWN = 2.0
FIXED_SECONDS = 0.005
SECONDS_PER_BYTE = 1.6e-4
NOISE = 0.03
BATCH_SIZE = 8
TRAINING, HELD_OUT = 1600, 600
LEARNING_RATE = 3e-3

BASELINE, CHRONOS = "DistributedSampler", "chronos"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run: which arm, how often through the data, and whether its steps take their time."""

    arm: str
    seed: int
    epochs: int
    padded: bool


class Pace:
    """How long this rank's steps take: by the bytes of its share, twice as long on the slow rank, 3 % noise."""

    def __init__(self, job: Job, rank: int) -> None:
        self._job = job
        self._factor = SLOWDOWN if rank == SLOW_RANK else 1.0
        self._rng = np.random.default_rng([job.seed, rank])
        self._start = 0.0

    def start(self) -> None:
        """The batch is at hand."""
        self._start = time.perf_counter()

    def pad(self, size: int) -> float:
        """Waits until the step has taken its time; the seconds of it."""
        seconds = (
            self._factor
            * (FIXED_SECONDS + SECONDS_PER_BYTE * size)
            * float(np.exp(NOISE * self._rng.normal()))
        )
        if self._job.padded:
            time.sleep(max(0.0, self._start + seconds - time.perf_counter()))
        return seconds


def train(job: Job, rank: int) -> dict[str, Any]:
    """One run; steps a second, the loss on held-out text in nats a byte, and the share of a core that was used."""
    data = Paragraphs(0, TRAINING)
    model = DistributedDataParallel(network(job.seed))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    pace = Pace(job, rank)
    run = _baseline if job.arm == BASELINE else _chronos
    dist.barrier()
    start, cpu = time.perf_counter(), time.process_time()
    steps = 0
    for _ in run(job, data, model, pace):
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
    dist.barrier()
    seconds = time.perf_counter() - start
    return {
        **asdict(job),
        "steps": steps,
        "steps_per_second": steps / seconds,
        "cpu": (time.process_time() - cpu) / seconds,
        "loss": held_out_loss(model.module),
    }


def _baseline(job: Job, data: Paragraphs, model: DistributedDataParallel, pace: Pace) -> Iterator[None]:
    """Torch's sampler: equal counts. Its gradient is weighted by bytes too, so that both arms minimise the same."""
    sampler: TorchSampler[int] = TorchSampler(data, seed=job.seed)
    loader = DataLoader(data, batch_size=BATCH_SIZE, sampler=sampler, collate_fn=windows)
    reduction = weigh_gradients(model)
    for epoch in range(job.epochs):
        sampler.set_epoch(epoch)
        for context, following in loader:
            pace.start()
            loss = nn.functional.cross_entropy(model(context), following)
            pace.pad(len(following))
            torch.autograd.backward(reduction.scale(loss, len(following)))
            yield


def _chronos(job: Job, data: Paragraphs, model: DistributedDataParallel, pace: Pace) -> Iterator[None]:
    """Measured speeds, variable counts, weighted gradients."""
    # One step of patience: the all-gather then runs beside the next step, and nobody waits for it.
    feedback = Feedback(TorchExchange(), FeedbackConfig(lookahead=1))
    sampler = DistributedSampler(
        data, batch_size=BATCH_SIZE, seed=job.seed, kind="dynamic", feedback=feedback
    )
    batches = BalancedBatchSampler(sampler)
    loader: Iterable[tuple[Tensor, Tensor]] = DataLoader(data, batch_sampler=batches, collate_fn=windows)
    reduction: WeightedReduction = weigh_gradients(model)
    for epoch in range(job.epochs):
        batches.set_epoch(epoch)
        for (context, following), share in batches.follow(loader):
            reduction.start()
            pace.start()
            loss = nn.functional.cross_entropy(model(context), following)
            meant = pace.pad(int(share.size))
            torch.autograd.backward(reduction.scale(loss, share.size))
            yield
            share.finish(reduction.seconds if job.padded else meant)


def held_out_loss(model: nn.Module) -> float:
    """Nats a byte on paragraphs that nobody trained on."""
    texts = Paragraphs(TRAINING, HELD_OUT)
    context, following = windows([texts[index] for index in range(len(texts))])
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(context), following))


def main(rank: int, folder: Path) -> None:
    """All jobs of ``jobs.json``."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=WORLD)
    found = []
    for job in json.loads((folder / "jobs.json").read_text()):
        found.append(train(Job(**job), rank))
        sys.stdout.write(f"{rank}\n")
        sys.stdout.flush()
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
