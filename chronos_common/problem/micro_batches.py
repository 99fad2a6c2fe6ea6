"""A batch in pieces: the gradient of all of it, with the intermediate results of one piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from chronos_common.problem.batches import Batch
from chronos_common.problem.state import Tensors

Piece = Callable[[Batch, Tensors, int], tuple[Tensor, Tensors]]


def split(batch: Batch, size: int) -> list[Batch]:
    """Consecutive pieces of at most ``size`` samples."""
    count = len(batch.positions)
    return [
        Batch(*(_cut(part, slice(at, at + size), count) for part in batch)) for at in range(0, count, size)
    ]


def per_sample(batch: Batch, size: int | None, buffers: Tensors, piece: Piece) -> tuple[Tensor, Tensors]:
    """The losses of a batch, shape ``(n,)``, and the buffers after it.

    Args:
        batch: n samples.
        size: samples in a piece, or None for all of them.
        buffers: before the first piece; each is given those after the one before.
        piece: ``(batch, buffers, number) -> (losses, buffers)``; run a second time when its derivative is taken, and
            must give the same values then.
    """
    if size is None or size >= len(batch.positions):
        return piece(batch, buffers, 0)
    losses: list[Tensor] = []
    for number, part in enumerate(split(batch, size)):
        if torch.is_grad_enabled():
            found, buffers = checkpoint(
                piece, part, buffers, number, use_reentrant=False, preserve_rng_state=False
            )
        else:
            found, buffers = piece(part, buffers, number)
        losses.append(found)
    return torch.cat(losses), buffers


def _cut(value: Any, where: slice, count: int) -> Any:
    """The samples ``where`` of nested containers whose leaves hold ``count`` each."""
    if isinstance(value, Tensor):
        return value[where]
    if isinstance(value, Mapping):
        return {key: _cut(part, where, count) for key, part in value.items()}
    if isinstance(value, list | tuple):
        # A container of tensors is cut inside; a list of other things (names, say) has one for each sample.
        if len(value) == count and not any(
            isinstance(part, Tensor | Mapping | list | tuple) for part in value
        ):
            return value[where]
        return [_cut(part, where, count) for part in value]
    return value
