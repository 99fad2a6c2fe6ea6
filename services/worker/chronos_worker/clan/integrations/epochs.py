"""A training loader of Lightning by phases: a clan's batches, in epochs of a known length."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from chronos_common.errors import ConfigurationError
from chronos_worker.clan.clan import Clan


class EpochLoader:
    """As many batches as there are shared steps in the data set, from where the last epoch left off.

    Args:
        given: whose data set, batch size and collation are taken; which samples are in a batch is the clan's affair.
        members: that share a step.

    Raises:
        ConfigurationError: it has no length, batches of its own, or workers.
    """

    def __init__(self, given: DataLoader[Any], members: int) -> None:
        if isinstance(given.dataset, IterableDataset) or given.batch_size is None or given.num_workers:
            raise ConfigurationError(
                "a clan chooses the samples of each member by phase: train from a DataLoader with a map-style data "
                "set, batch_size and num_workers=0, without a batch_sampler"
            )
        self.dataset, self.batch_size = given.dataset, given.batch_size
        self.num_workers = 0
        self._options = {"collate_fn": given.collate_fn, "pin_memory": given.pin_memory}
        self._length = len(given.dataset) // (given.batch_size * members)  # type: ignore[arg-type]  # a map-style data set
        self._made: Any = None
        self._batches: Iterator[Any] = iter(())

    def attach(self, clan: Clan) -> None:
        """Its clan is there."""
        self._made = clan.loader(self.dataset, self.batch_size, **self._options)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self._length):
            batch = list(islice(self._batches, 1))
            if not batch:
                self._batches = iter(self._made)
                batch = list(islice(self._batches, 1))
            yield from batch
