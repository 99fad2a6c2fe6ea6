"""The mean of the members' gradients, of those that have any: one NaN is not everybody's.

What all have is averaged first. The mean is the same bits for all, so that all see alike whether it is finite, which it
nearly always is. Only where it is not do they say whose gradients were, and average again, among those.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from chronos_worker.clan.transport.base import Transport
from chronos_worker.clan.transport.flat import flattened, unpacked


@torch.no_grad()
def share_gradients(gradients: Sequence[Tensor], transport: Transport) -> None:
    """Every gradient by its mean over the members whose gradients are all finite; over all if nobody's are.

    Args:
        gradients: of this member; all members have ones of the same shapes, in the same order.
        transport: to the others.

    Raises:
        MovedError, ProcessError: as :meth:`Transport.together`; the gradients are as they were.
    """

    def prepare() -> list[Tensor]:
        flats = flattened(gradients)
        for flat in flats:
            transport.mean(flat)
        return flats if finite(flats) else _among_the_finite(gradients, flats, transport)

    transport.together(prepare, lambda flats: unpacked(gradients, flats), "gradients")


def finite(tensors: Sequence[Tensor]) -> bool:
    """Whether there is neither NaN nor infinity among them."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def share_of(sound: int, size: int) -> float:
    """What the mean over all is to be multiplied by, where only some, the sound ones, have put in more than zeros."""
    return size / sound


def _among_the_finite(gradients: Sequence[Tensor], means: list[Tensor], transport: Transport) -> list[Tensor]:
    flats = flattened(gradients)
    mine = finite(flats)
    sound = int(sum(transport.gather(float(mine))))
    if sound in (0, transport.size):
        return means
    for flat in flats:
        if not mine:
            flat.zero_()
        transport.mean(flat)
        flat.mul_(share_of(sound, transport.size))
    return flats
