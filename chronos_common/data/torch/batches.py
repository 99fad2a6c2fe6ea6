"""Batches whose counts vary between ranks and steps, for ``DataLoader(dataset, batch_sampler=...)``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from torch.utils.data import Sampler

from chronos_common.data.torch.sampler import DistributedSampler
from chronos_common.data.torch.share import Share
from chronos_common.errors import ConfigurationError

Batch = TypeVar("Batch")


class BalancedBatchSampler(Sampler[list[int]]):
    """One list of indices for each step: each sample once in an epoch, all ranks as many steps.

    A rank without samples of a step gets the smallest one of the step as a stand-in, whose share counts 0: its loss,
    multiplied by 0, keeps the rank in the collective operation.

    Args:
        sampler: what plans.
        batch_size: ignored; frameworks that make samplers anew pass it.
        drop_last: likewise: the sampler's own holds.
        every_rank: give the lists of all ranks in turn, for wrappers that deal batches out to ranks themselves
            (Accelerate with ``even_batches=False``).
        accumulate: steps that make one step of the optimiser.

    Raises:
        ConfigurationError: another sampler than this package's.
    """

    def __init__(
        self,
        sampler: DistributedSampler,
        batch_size: int | None = None,
        drop_last: bool | None = None,
        *,
        every_rank: bool = False,
        accumulate: int = 1,
    ) -> None:
        if not isinstance(sampler, DistributedSampler):
            raise ConfigurationError(
                f"a {type(sampler).__name__} cannot be balanced; pass chronos_common.data.torch.DistributedSampler. "
                "Where a framework replaced it, tell it not to: Trainer(use_distributed_sampler=False) in Lightning"
            )
        if accumulate < 1:
            raise ConfigurationError(f"accumulate is {accumulate}; it must be 1 or more")
        self.sampler = sampler
        self.every_rank = every_rank
        self.accumulate = accumulate

    @property
    def batch_size(self) -> int | None:
        """Samples of a rank and step on average; ``None`` where batches of all ranks are given."""
        return None if self.every_rank else self.sampler.batch_size

    @property
    def drop_last(self) -> bool:
        """The sampler's."""
        return self.sampler.drop_last

    def __len__(self) -> int:
        return self.sampler.steps * (self.sampler.num_replicas if self.every_rank else 1)

    def __iter__(self) -> Iterator[list[int]]:
        for share in self.sampler.shares(accumulate=self.accumulate):
            if self.every_rank:
                yield from (self.sampler.loaded(share.plan, rank) for rank in range(share.world_size))
            else:
                yield share.batch

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass."""
        self.sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The sampler's."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The sampler's."""
        self.sampler.load_state_dict(state)

    def follow(self, loader: Iterable[Batch]) -> Iterator[tuple[Batch, Share]]:
        """Each batch of a loader with the share that it was made of: :meth:`DistributedSampler.follow`."""
        return self.sampler.follow(loader)
