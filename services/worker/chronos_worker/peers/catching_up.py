"""What the members of a new epoch agree on before they go on: which step they have done, and from what state.

A step is *prepared* once its collectives are done, and *applied* once everybody has said so. A member that died in
between may leave some who have applied it and others who have not. Since nobody applies a step that is not prepared
everywhere, the others hold all that they need: they apply it now. Whatever cannot be mended so (a joiner, or replicas
that differ) takes over the state of the most senior member that has done the most steps, or of the one that it asks
for. Who has just applied a step late hands nothing over: what its caller does after the step is not done yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from chronos_common.fleet import Epoch
from chronos_common.runtime import get_logger
from chronos_worker.peers.collectives import Collectives
from chronos_worker.peers.config import PeerConfig
from chronos_worker.peers.state import PeerState, checksum, describe, prepared

ANYBODY: Final = -1

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a member stands when it enters an epoch.

    Attributes:
        steps: steps applied.
        fresh: it has no state of its own that counts.
        apply_prepared: applies the next step, if that is prepared.
    """

    steps: int
    fresh: bool
    apply_prepared: Callable[[], None] | None


class Companion(Protocol):
    """Somebody with more to say when the members of an epoch meet; raises what ends the membership."""

    def introduce(self, epoch: Epoch, rank: int, lacking: bool) -> tuple[int, int]:
        """The number that the others shall know this member by, and the rank of the member whose state it wants.

        Args:
            epoch: that is being entered.
            rank: this member's.
            lacking: whether it is about to take over a state; otherwise the wish is not heard. -1: anybody's.
        """
        ...

    def met(self, numbers: Sequence[int]) -> None:
        """The members' numbers, in order of rank; everybody is up to date."""
        ...


def catch_up(
    collectives: Collectives,
    standing: Standing,
    state: PeerState | None,
    *,
    config: PeerConfig,
    device: torch.device,
    companion: Companion | None = None,
) -> int:
    """Brings every member to the same step; the number of steps that are done now.

    Raises:
        PeersLostError: the epoch did not last.
        MalformedPayloadError: a peer's state cannot be read.
    """
    rows = collectives.gathered([standing.steps, standing.fresh, standing.apply_prepared is not None], device)
    settled = [steps for steps, fresh, _ in rows if not fresh]
    top = max(settled, default=0)
    steps, late = standing.steps, False
    if not standing.fresh and steps == top - 1 and standing.apply_prepared is not None:
        late = True
        _log.info("a step that was applied elsewhere is applied here too", step=top, rank=collectives.rank)
        standing.apply_prepared()
        steps = top
    if state is None:
        return top
    # In a first epoch replicas begin as rank 0; members with a state of their own begin as they are.
    begin_apart = not settled and not config.replicas
    behind = not begin_apart and ((standing.fresh and bool(settled)) or (not standing.fresh and steps != top))
    number, wanted = 0, ANYBODY
    if companion is not None:
        number, wanted = companion.introduce(collectives.epoch, collectives.rank, behind)
    sums = checksum(state.capture()[0]) if config.replicas else (0, 0)
    told = [steps, standing.fresh, behind, late, number, wanted, *sums]
    heard = [_Row.of(*row) for row in collectives.gathered(told, device)]
    for source, takers in _hand_overs(heard, top, bool(settled), config.replicas):
        _log.info("peers are brought up to date", step=top, source=source, ranks=takers)
        _hand_over(collectives, state, source, collectives.rank in takers, config.buffer_bytes, device)
    if companion is not None:
        companion.met([row.number for row in heard])
    return top


@dataclass(frozen=True)
class _Row:
    """What a member has told all."""

    steps: int
    fresh: int
    behind: int
    late: int
    number: int
    wanted: int
    sums: tuple[int, ...]

    @classmethod
    def of(cls, steps: int, fresh: int, behind: int, late: int, number: int, wanted: int, *sums: int) -> _Row:
        """Inverse of what is gathered."""
        return cls(steps, fresh, behind, late, number, wanted, sums)


def _hand_overs(rows: Sequence[_Row], top: int, settled: bool, replicas: bool) -> list[tuple[int, list[int]]]:
    """Who hands over to whom, the same everywhere."""
    sources = [
        rank
        for rank, row in enumerate(rows)
        if not row.behind and not row.late and row.steps == top and not (row.fresh and settled)
    ]
    first = sources[0]
    takers: dict[int, list[int]] = {}
    for rank, row in enumerate(rows):
        if row.behind or (replicas and row.sums != rows[first].sums):
            takers.setdefault(row.wanted if row.wanted in sources else first, []).append(rank)
    return sorted(takers.items())


def _hand_over(
    collectives: Collectives,
    state: PeerState,
    source: int,
    take: bool,
    chunk_bytes: int,
    device: torch.device,
) -> None:
    """Broadcasts the state of rank ``source``; those who ``take`` it restore it."""
    snapshot = state.capture()
    text = describe(snapshot)
    length = collectives.gathered([len(text)], device)[source][0]
    own = collectives.rank == source
    header = torch.empty(length, dtype=torch.uint8, device=device)
    if own:
        header.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
    collectives.wait(collectives.broadcast(header, source))
    if not own:
        snapshot = prepared(bytes(header.cpu().tolist()), device)
    for tensor in snapshot[0].values():
        raw = _carried(tensor, device)
        for start in range(0, raw.numel(), chunk_bytes):
            collectives.wait(collectives.broadcast(raw[start : start + chunk_bytes], source))
    if take and not own:
        state.restore(snapshot)


def _carried(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor's bytes as process groups take them; a copy where it lies elsewhere, for the source only."""
    raw = tensor.detach().to(device).contiguous()
    return raw.view(-1).view(torch.uint8)
