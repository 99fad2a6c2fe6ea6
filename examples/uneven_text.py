"""A language model on paragraphs of uneven length, on several processes that need not be equally fast.

torchrun --nproc-per-node 4 -m examples.uneven_text

Every process takes the share of each batch that it finishes at the same moment as the others, by the times that they
measure; a small all-gather after each step is all that it takes, there is no coordinator.
"""

from __future__ import annotations

import argparse
from pydoc_data.topics import topics

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from chronos_common.data.torch import (
    BalancedBatchSampler,
    Dataset,
    DistributedSampler,
    Feedback,
    TorchExchange,
    weigh_gradients,
)

CONTEXT = 6
SYMBOLS = 128


class Paragraphs(Dataset[Tensor]):
    """Paragraphs of Python's own documentation as bytes, each preceded by a blank context."""

    def __init__(self, first: int, count: int) -> None:
        order = np.random.default_rng(0)
        texts = [
            text for topic in sorted(topics) for text in topics[topic].split("\n\n") if len(text.strip()) > 1
        ]
        chosen = order.permutation(len(texts))[first : first + count]
        blank = b"\0" * CONTEXT
        self.texts = [blank + texts[index].encode("ascii", "replace") for index in chosen]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor(list(self.texts[index]))

    def sizes(self) -> NDArray[np.float64]:
        """Bytes to be predicted, (N,)."""
        return np.array([len(text) - CONTEXT for text in self.texts], dtype=np.float64)


def windows(texts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Contexts (tokens, CONTEXT) and the bytes that follow, (tokens,): nothing is padded."""
    cut = torch.cat([text.unfold(0, CONTEXT + 1, 1) for text in texts])
    return cut[:, :-1], cut[:, -1]


def network(seed: int) -> nn.Module:
    """Predicts a byte from those before it."""
    torch.manual_seed(seed)
    width = 16
    return nn.Sequential(
        nn.Embedding(SYMBOLS, width),
        nn.Flatten(),
        nn.Linear(CONTEXT * width, 64),
        nn.ReLU(),
        nn.Linear(64, SYMBOLS),
    )


def main(epochs: int, paragraphs: int) -> None:
    """Trains on this process's shares."""
    dist.init_process_group("gloo")
    data = Paragraphs(0, paragraphs)
    sampler = DistributedSampler(data, batch_size=8, kind="dynamic", feedback=Feedback(TorchExchange()))
    batches = BalancedBatchSampler(sampler)
    loader = DataLoader(data, batch_sampler=batches, collate_fn=windows)
    model = DistributedDataParallel(network(seed=0))
    reduction = weigh_gradients(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        for (context, following), share in batches.follow(loader):
            reduction.start()
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(context), following)
            torch.autograd.backward(reduction.scale(loss, share.size))
            optimizer.step()
            share.finish(reduction.seconds)
        if dist.get_rank() == 0:
            print(
                f"epoch {epoch}: {sampler.steps} steps, loss {loss.item():.3f}, shares {share.plan.counts.tolist()}"
            )
    dist.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--paragraphs", type=int, default=2000)
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.paragraphs)
