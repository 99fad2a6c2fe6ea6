"""Batches by phase: every member its own share while gradients are shared, the same for all while they compete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from chronos_common.clan.randomness import stream
from chronos_common.errors import ConfigurationError
from chronos_worker.clan.progress import Progress
from chronos_worker.clan.transport import Transport

_SHUFFLES = 3


class ClanLoader:
    """Iterates over batches of this member.

    One iteration is an epoch, or with ``total_steps`` the whole training. An epoch is a permutation of the data set
    that is used up batch by batch, a shared step taking ``size * batch_size`` samples and a common one ``batch_size``;
    what is left of it at the end and too little for a step is left out.

    Args:
        progress: says which phase the next step belongs to.
        transport: this member's share, and how many there are.
        dataset: with a length.
        batch_size: samples of one member in one step.
        seed: of the permutations, the same on all ranks.
        finished: whether the training is over.
        options: for the ``DataLoader`` (``collate_fn``, ``pin_memory``). Batches are made when they are asked for,
            since the next phase is not known before: ``num_workers`` stays 0.

    Raises:
        ConfigurationError: a batch size below 1, a data set smaller than one shared step, or workers.
    """

    def __init__(
        self,
        progress: Progress,
        transport: Transport,
        dataset: Dataset[Any],
        batch_size: int,
        seed: int,
        **options: Any,
    ) -> None:
        self._progress, self._transport, self._seed = progress, transport, seed
        self.batch_size, self._length = batch_size, len(dataset)  # type: ignore[arg-type]  # a map-style data set
        self.epoch, self.offset = 0, 0
        self.owes = False
        """Whether the batch of the step that runs was drawn elsewhere: the next one is of samples just passed."""
        self._order = (-1, np.zeros(0, dtype=np.int64))
        members = progress.config.population_size
        if batch_size < 1 or self._length < batch_size * members:
            raise ConfigurationError(
                f"batch_size is {batch_size}, and a shared step takes that of {members} members; it must be 1 "
                f"or more, and the data set of {self._length} samples must hold one step"
            )
        if options.get("num_workers"):
            raise ConfigurationError("num_workers must be 0: the next batch depends on how the round goes on")
        # A generator of its own: with the default one every new iteration would take a number from the model's dropout.
        options.setdefault("generator", torch.Generator().manual_seed(seed))
        self._loader: DataLoader[Any] = DataLoader(dataset, batch_sampler=_Asked(self), **options)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)

    def chosen(self) -> Iterator[list[int]]:
        """Positions in the data set, batch by batch."""
        endless = self._progress.config.total_steps is not None
        while not self._progress.ended:
            if self.owes:
                self.owes = False
                last = max(self.offset, self.batch_size)
                yield self._permutation()[last - self.batch_size : last].tolist()
                continue
            share = 1 if self._progress.phase.common_data else self._transport.size
            wanted = share * self.batch_size
            if self.offset + wanted > self._length:
                self.epoch, self.offset = self.epoch + 1, 0
                if not endless:
                    return
            first = self.offset + (self._transport.share * self.batch_size if share > 1 else 0)
            self.offset += wanted
            yield self._permutation()[first : first + self.batch_size].tolist()

    def _permutation(self) -> NDArray[np.int64]:
        if self._order[0] != self.epoch:
            order = stream(self._seed, _SHUFFLES, self.epoch).permutation(self._length)
            self._order = (self.epoch, np.asarray(order, dtype=np.int64))
        return self._order[1]


class _Asked:
    """A batch sampler that asks anew in each iteration."""

    def __init__(self, loader: ClanLoader) -> None:
        self._asked = loader

    def __iter__(self) -> Iterator[list[int]]:
        return self._asked.chosen()
