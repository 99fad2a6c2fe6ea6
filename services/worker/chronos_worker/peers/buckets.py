"""Flat buckets: many small tensors as a few large buffers, because a collective costs mostly its start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Consecutive numbers of one dtype.

    Attributes:
        pieces: place of a tensor in the list, first number of it, and the one behind the last.
        numel: numbers in all pieces.
        dtype: theirs.
    """

    pieces: tuple[tuple[int, int, int], ...]
    numel: int
    dtype: torch.dtype


def layout(tensors: Sequence[Tensor], bucket_bytes: int) -> tuple[Bucket, ...]:
    """Buckets of at most ``bucket_bytes``, in the order of the tensors; only what is not contiguous is never cut.

    Raises:
        ConfigurationError: a tensor that cannot be averaged.
    """
    filling: dict[torch.dtype, list[tuple[int, int, int]]] = {}
    held: dict[torch.dtype, int] = {}
    done: list[Bucket] = []

    def close(dtype: torch.dtype) -> None:
        pieces = filling.pop(dtype, [])
        if pieces:
            done.append(Bucket(pieces=tuple(pieces), numel=held.pop(dtype), dtype=dtype))

    for place, tensor in enumerate(tensors):
        if not tensor.is_floating_point() or tensor.layout is not torch.strided:
            raise ConfigurationError(
                f"tensor {place} is {tensor.dtype} and {tensor.layout}; only dense floating-point tensors have a mean"
            )
        most = max(1, bucket_bytes // tensor.element_size())
        cut = most if tensor.is_contiguous() else max(1, tensor.numel())
        for start in range(0, tensor.numel(), cut):
            stop = min(start + cut, tensor.numel())
            if held.get(tensor.dtype, 0) + stop - start > most:
                close(tensor.dtype)
            filling.setdefault(tensor.dtype, []).append((place, start, stop))
            held[tensor.dtype] = held.get(tensor.dtype, 0) + stop - start
    for dtype in tuple(filling):
        close(dtype)
    return tuple(done)


class FlatBuffers:
    """The buffers of a layout, kept from step to step.

    Args:
        buckets: the layout.
        device: where they lie.
    """

    def __init__(self, buckets: Iterable[Bucket], device: torch.device) -> None:
        self.buckets = tuple(buckets)
        self.flats = [torch.empty(bucket.numel, dtype=bucket.dtype, device=device) for bucket in self.buckets]

    def pack(self, index: int, tensors: Sequence[Tensor]) -> Tensor:
        """Bucket ``index`` with the tensors' values; they stay as they are."""
        flat = self.flats[index]
        for here, there in self._pairs(index, flat, tensors):
            here.copy_(there)
        return flat

    def unpack(self, index: int, flat: Tensor, tensors: Sequence[Tensor], divisor: int) -> None:
        """The tensors take the bucket's values, divided by ``divisor``."""
        for here, there in self._pairs(index, flat, tensors):
            torch.div(here, divisor, out=there)

    def _pairs(self, index: int, flat: Tensor, tensors: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        offset = 0
        for place, start, stop in self.buckets[index].pieces:
            tensor = tensors[place].detach()
            here = flat[offset : offset + stop - start]
            offset += stop - start
            if tensor.is_contiguous():
                yield here, tensor.view(-1)[start:stop]
            else:
                yield here.view(tensor.shape), tensor
