"""A process that works on a data plan: ``python -m tests.support.data_worker ADDRESS PLAN WORKER RANK OUT``.

It begins when OUT.go exists, and reads through a loader. For every share that counted it appends a line ``epoch turn
samples...`` to OUT, after the coordinator said so.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from chronos_common.data import PlanConfig
from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.torch import Dataset, ServedBatchSampler
from chronos_common.wire import SyncCoordinatorClient, join_plan
from tests.support.clients import BUDGET
from tests.support.polling import poll

SAMPLES = 400
CONFIG = DataPlanConfig(samples=SAMPLES, plan=PlanConfig(batch_size=10, workers=2), workers=2, lookahead=3)
LOADING = "a"
"""The worker whose loader has a process of its own and runs ahead."""
SECONDS = 0.02
"""Work on one share; processes are killed in the middle of it."""


class Numbers(Dataset[int]):
    """Samples that are their own numbers."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> int:
        return index

    def sizes(self) -> NDArray[np.float64]:
        return np.linspace(1.0, 9.0, SAMPLES)


def main(address: str, plan: str, worker: str, rank: str, out: str) -> None:
    poll(Path(f"{out}.go").exists, "the word to begin", timeout_seconds=60.0)
    data, ahead = Numbers(), int(worker == LOADING)
    with (
        SyncCoordinatorClient(address, deadlines=BUDGET) as client,
        join_plan(client, plan, worker, config=CONFIG, sizes=data.sizes(), rank=int(rank)) as source,
        Path(out).open("a", buffering=1) as lines,
    ):
        batches = ServedBatchSampler(data, source)
        loader: DataLoader[int] = DataLoader(
            data,
            batch_sampler=batches,
            num_workers=ahead,
            collate_fn=list,
            persistent_workers=ahead > 0,
            multiprocessing_context="forkserver" if ahead else None,
        )
        for epoch in range(source.first_epoch, 2):
            batches.set_epoch(epoch)
            for batch, share in batches.follow(loader):
                assert batch == share.indices.tolist() or not share.count
                time.sleep(SECONDS)
                if share.finish(SECONDS):
                    lines.write(" ".join(map(str, (epoch, share.dealt.turn, *share.indices.tolist()))) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
