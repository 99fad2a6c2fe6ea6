"""Data for :class:`ModuleProblem`: batches addressed by step, so that any of them can be drawn again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate

from chronos_common.errors import ConfigurationError
from chronos_common.problem.context import Context


class Batch(NamedTuple):
    """Inputs, targets, and the positions of both in the data set (shape ``(n,)``, int64)."""

    inputs: Any
    targets: Any
    positions: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class BatchSource:
    """A data set cut into batches.

    Args:
        data: ``(inputs, targets)`` tensors of equal leading dimension, or a map-style dataset whose items
            are ``(input, target)``. Batches move to the context's device: keep data that fit there on it.
        batch_size: samples per batch; None means everything at once.
        sharded: keep to the context's shard of the data.
    """

    data: Any
    batch_size: int | None = None
    sharded: bool = False

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigurationError(f"batch_size must be at least 1 or None, not {self.batch_size}")
        if self._is_pair:
            inputs, targets = self.data
            if len(inputs) != len(targets):
                raise ConfigurationError(f"there are {len(inputs)} inputs but {len(targets)} targets")
        if not len(self):
            raise ConfigurationError("a data set is empty")

    @property
    def _is_pair(self) -> bool:
        return (
            isinstance(self.data, Sequence)
            and len(self.data) == 2
            and all(isinstance(part, Tensor) for part in self.data)
        )

    def __len__(self) -> int:
        return len(self.data[0]) if self._is_pair else len(self.data)

    def at(self, step: int, ctx: Context) -> Batch:
        """The batch of ``step``.

        Batches of an epoch are consecutive slices of one permutation, which is seeded by the epoch's
        number: every sample is seen once per epoch, and no batch needs the ones before it.
        """
        everything = ctx.shard.positions(len(self)) if self.sharded else range(len(self))
        if self.batch_size is None or self.batch_size >= len(everything):
            return self._take(everything, ctx.device)
        per_epoch = len(everything) // self.batch_size
        epoch, position = divmod(step, per_epoch)
        generator = ctx.at(step=epoch, stream="permutation").generator
        order = torch.randperm(len(everything), generator=generator)
        chosen = order[position * self.batch_size : (position + 1) * self.batch_size]
        return self._take(chosen * everything.step + everything.start, ctx.device)

    def _take(self, positions: Tensor | range, device: torch.device) -> Batch:
        whole = isinstance(positions, range) and len(positions) == len(self)
        if isinstance(positions, range):
            positions = torch.arange(positions.start, positions.stop, positions.step)
        if self._is_pair:
            inputs, targets = self.data
            if not whole:
                inputs, targets = inputs[positions.to(inputs.device)], targets[positions.to(targets.device)]
        else:
            inputs, targets = default_collate([self.data[i] for i in positions.tolist()])
        return Batch(_move(inputs, device), _move(targets, device), positions.to(device))


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: _move(part, device) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_move(part, device) for part in value]
    return value
