"""A mean whose bits depend on nothing but the members' vectors and an order of them: not on who came first.

What adds up in a ring adds in an order that differs from chunk to chunk and with the ranks. Here every member sends
chunk i to rank i, which adds up in the given order and sends the mean to all: the same bytes as a ring carries. Short
vectors go to everybody at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from chronos_worker.peers.collectives import Collectives

SHORT_BYTES: Final = 1 << 15


def ordered_mean(collectives: Collectives, flat: Tensor, order: Sequence[int]) -> None:
    """Replaces a contiguous vector, in place, by its mean over the ranks, added up in an order.

    Raises:
        PeersLostError: the epoch did not last.
    """
    size, numel = collectives.size, flat.numel()
    if size == 1 or not numel:
        return
    if numel * flat.element_size() <= SHORT_BYTES:
        flat.copy_(_mean(gathered(collectives, flat), order))
        return
    chunk = math.ceil(numel / size)
    padded = flat.new_zeros((size, chunk))
    padded.view(-1)[:numel] = flat
    rows = torch.empty_like(padded)
    collectives.wait(collectives.all_to_all(_raw(rows), _raw(padded)))
    flat.copy_(gathered(collectives, _mean(rows, order)).view(-1)[:numel])


def gathered(collectives: Collectives, vector: Tensor) -> Tensor:
    """Everybody's vector, a row for each rank."""
    rows = vector.new_empty((collectives.size, vector.numel()))
    collectives.wait(collectives.all_gather(_raw(rows), _raw(vector.contiguous().view(1, -1))))
    return rows


def _mean(rows: Tensor, order: Sequence[int]) -> Tensor:
    total = rows[order[0]].clone()
    for rank in order[1:]:
        total += rows[rank]
    return total.div_(len(order))


def _raw(rows: Tensor) -> Tensor:
    """As bytes: process groups do not carry every dtype."""
    return rows.view(torch.uint8)
