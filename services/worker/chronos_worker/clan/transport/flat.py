"""Many tensors as few vectors: a collective for each bucket instead of one for each tensor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
def mean_in_place(tensors: Sequence[Tensor], transport: Transport, point: str = "mean") -> None:
    """Every tensor by its mean over the members; all members have tensors of the same shapes, in the same order.

    Raises:
        MovedError, ProcessError: as :meth:`Transport.together`; the tensors are as they were.
    """

    def prepare() -> list[Tensor]:
        flats = flattened(tensors)
        for flat in flats:
            transport.mean(flat)
        return flats

    transport.together(prepare, lambda flats: unpacked(tensors, flats), point)


@torch.no_grad()
def received(tensors: Sequence[Tensor], transport: Transport, source: int) -> list[Tensor]:
    """Copies of one member's tensors, in the order and of the shapes of one's own."""
    copies = [tensor.detach().clone() for tensor in tensors]
    for bucket in buckets(copies):
        flat = _flat(bucket)
        transport.broadcast(flat, source)
        _unpack(bucket, flat)
    return copies


def flattened(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies of all, a vector for each bucket."""
    return [_flat(bucket) for bucket in buckets(tensors)]


@torch.no_grad()
def unpacked(tensors: Sequence[Tensor], flats: Sequence[Tensor]) -> None:
    """Every tensor as it stands in the vectors of :func:`flattened`."""
    for bucket, flat in zip(buckets(tensors), flats, strict=True):
        _unpack(bucket, flat)


def _flat(bucket: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in bucket])


def _unpack(bucket: Sequence[Tensor], flat: Tensor) -> None:
    start = 0
    for tensor in bucket:
        tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()
