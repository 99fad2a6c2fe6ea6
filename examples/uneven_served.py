"""The language model of ``uneven_text`` with a coordinator: batches come from a data plan, which outlives the job.

chronos-coordinator --port 50551
torchrun --nproc-per-node 4 -m examples.uneven_served --coordinator 127.0.0.1:50551

Every process takes the share of each batch that it finishes at the same moment as the others, by the times that it
reports. Kill the job in mid-epoch and start it again: the samples that were not finished are what it goes on with.
"""

from __future__ import annotations

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from chronos_common.data import PlanConfig
from chronos_common.data.definition import DataPlanConfig
from chronos_common.data.torch import ServedBatchSampler, weigh_gradients
from chronos_common.wire import SyncCoordinatorClient, join_plan
from examples.uneven_text import Paragraphs, network, windows


def main(coordinator: str, plan: str, epochs: int, paragraphs: int) -> None:
    """Trains on this process's shares."""
    dist.init_process_group("gloo")
    rank, workers = dist.get_rank(), dist.get_world_size()
    data = Paragraphs(0, paragraphs)
    config = DataPlanConfig(
        samples=len(data), plan=PlanConfig(batch_size=8 * workers, workers=workers), workers=workers
    )
    model = DistributedDataParallel(network(seed=0))
    reduction = weigh_gradients(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with (
        SyncCoordinatorClient(coordinator) as client,
        join_plan(client, plan, f"worker-{rank}", config=config, sizes=data.sizes(), rank=rank) as source,
    ):
        dist.barrier()
        if rank == 0:
            source.regroup()
        dist.barrier()
        batches = ServedBatchSampler(data, source)
        loader = DataLoader(data, batch_sampler=batches, collate_fn=windows)
        for epoch in range(source.first_epoch, epochs):
            batches.set_epoch(epoch)
            counted, shown = 0, float("nan")
            for (context, following), share in batches.follow(loader):
                reduction.start()
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(context), following)
                torch.autograd.backward(reduction.scale(loss, share.size))
                optimizer.step()
                counted, shown = counted + share.count * share.finish(reduction.seconds), loss.item()
            print(
                f"epoch {epoch}: rank {rank} finished {counted} paragraphs, loss {shown:.3f}",
                flush=True,
            )
    dist.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--coordinator", default="127.0.0.1:50551")
    parser.add_argument("--plan", default="paragraphs")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--paragraphs", type=int, default=2000)
    arguments = parser.parse_args()
    main(arguments.coordinator, arguments.plan, arguments.epochs, arguments.paragraphs)
