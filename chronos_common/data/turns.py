"""One turn: a step, or a part of one, divided among all members; and how it is kept."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chronos_common.data.plan import Indices
from chronos_common.data.source import DealtShare


@dataclass(kw_only=True)
class Turn:
    """Open shares of one turn."""

    epoch: int
    step: int
    part: int
    total_count: int
    total_size: float
    workers: int
    shares: dict[str, DealtShare] = field(default_factory=dict)


def make_share(
    turn: Turn, number: int, worker: str, indices: Indices, cost: float, size: float
) -> DealtShare:
    """A worker's share of a turn."""
    return DealtShare(
        epoch=turn.epoch,
        step=turn.step,
        part=turn.part,
        turn=number,
        worker=worker,
        indices=indices,
        cost=cost,
        size=size,
        total_count=turn.total_count,
        total_size=turn.total_size,
        workers=turn.workers,
    )


def restored_turn(kept: Mapping[str, Any]) -> Turn:
    """Inverse of :func:`turn_state`; raises ``KeyError``, ``TypeError`` or ``ValueError``."""
    turn = Turn(
        epoch=int(kept["epoch"]),
        step=int(kept["step"]),
        part=int(kept["part"]),
        total_count=int(kept["total_count"]),
        total_size=float(kept["total_size"]),
        workers=int(kept["workers"]),
    )
    for worker, (cost, size, text) in kept["shares"].items():
        turn.shares[worker] = make_share(
            turn, int(kept["turn"]), worker, indices_from_text(text), float(cost), float(size)
        )
    return turn


def indices_to_text(indices: Indices) -> str:
    """Indices as text, four or eight bytes each."""
    width = 4 if int(indices.max(initial=0)) < 1 << 32 else 8
    return f"{width}:{base64.b64encode(indices.astype(f'<u{width}').tobytes()).decode('ascii')}"


def indices_from_text(text: str) -> Indices:
    """Inverse of :func:`indices_to_text`; raises ``ValueError``."""
    width, _, packed = text.partition(":")
    if width not in ("4", "8"):
        raise ValueError(f"indices of {width[:8]!r} bytes")
    return np.frombuffer(base64.b64decode(packed, validate=True), dtype=f"<u{width}").astype(np.int64)


def turn_state(number: int, turn: Turn) -> dict[str, Any]:
    """A turn as JSON can hold it."""
    return {
        "turn": number,
        "epoch": turn.epoch,
        "step": turn.step,
        "part": turn.part,
        "total_count": turn.total_count,
        "total_size": turn.total_size,
        "workers": turn.workers,
        "shares": {
            worker: [share.cost, share.size, indices_to_text(share.indices)]
            for worker, share in sorted(turn.shares.items())
        },
    }
