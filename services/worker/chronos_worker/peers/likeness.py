"""Whether all members are about to reduce the same tensors: a process group ends the process where they are not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from chronos_common.errors import ConfigurationError
from chronos_worker.peers.buckets import Bucket
from chronos_worker.peers.collectives import Collectives


def compare(
    tensors: Sequence[Tensor],
    buckets: Sequence[Bucket],
    compression: str,
    collectives: Collectives,
    device: torch.device,
) -> Callable[[], None]:
    """Begins to compare what the members are about to send: gloo aborts on a message that is too long.

    It costs a message of 8 bytes in each step, since a member may find itself with other gradients than the others
    in any of them (a layer that its samples did not use).

    Args:
        tensors: to be reduced.
        buckets: their layout.
        compression: of the sums.
        collectives: of the epoch.
        device: where the tensors lie.

    Returns:
        What waits for the others' answers, before anything else is sent. It raises ``ConfigurationError`` on all
        members, naming the ranks that differ from rank 0, and ``PeersLostError`` if the epoch did not last.

    Raises:
        PeersLostError: the epoch is over.
    """
    if collectives.size == 1:
        return lambda: None
    shapes = [(tuple(tensor.shape), tensor.dtype) for tensor in tensors]
    text = repr((shapes, [(bucket.pieces, bucket.dtype) for bucket in buckets], compression))
    own = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
    gathered = collectives.gathering([own], device)

    def require_alike() -> None:
        told = [row[0] for row in gathered()]
        others = [rank for rank, sent in enumerate(told) if sent != told[0]]
        if others:
            raise ConfigurationError(
                f"ranks {', '.join(map(str, others))} and rank 0 (this is rank {collectives.rank}, with {len(shapes)} "
                "tensors) gave tensors of different numbers, shapes, dtypes or memory layouts, or have another "
                "PeerConfig; give all parameters a gradient (of zeros where there is none), in the same order"
            )

    return require_alike
