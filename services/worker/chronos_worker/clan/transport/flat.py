"""Many tensors as few vectors: a collective for each bucket instead of one for each tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import torch
from torch import Tensor

from chronos_worker.clan.transport.base import Transport

BUCKET_BYTES: Final = 25 * 2**20


def buckets(tensors: Iterable[Tensor], limit_bytes: int = BUCKET_BYTES) -> list[list[Tensor]]:
    """Tensors of one dtype and device together, in order, up to the limit (a larger one is alone)."""
    found: list[list[Tensor]] = []
    filling: dict[tuple[torch.dtype, torch.device], tuple[list[Tensor], int]] = {}
    for tensor in tensors:
        key, size = (tensor.dtype, tensor.device), tensor.numel() * tensor.element_size()
        bucket, filled = filling.get(key, ([], 0))
        if not bucket or filled + size > limit_bytes:
            bucket, filled = [], 0
            found.append(bucket)
        bucket.append(tensor)
        filling[key] = (bucket, filled + size)
    return found


@torch.no_grad()
def mean_in_place(tensors: Sequence[Tensor], transport: Transport) -> None:
    """Every tensor by its mean over the members; all members have tensors of the same shapes, in the same order."""
    _through(tensors, transport.mean)


@torch.no_grad()
def received(tensors: Sequence[Tensor], transport: Transport, source: int) -> list[Tensor]:
    """Copies of one member's tensors, in the order and of the shapes of one's own."""
    copies = [tensor.detach().clone() for tensor in tensors]
    _through(copies, lambda flat: transport.broadcast(flat, source))
    return copies


def _through(tensors: Sequence[Tensor], collective: Callable[[Tensor], None]) -> None:
    for bucket in buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        collective(flat)
        start = 0
        for tensor in bucket:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()
