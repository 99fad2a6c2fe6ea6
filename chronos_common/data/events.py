"""What happens to a data plan: events, in the order in which they were decided, from which its state follows.

An event that deals a step out holds the indices of every share, so that replay plans nothing and no release of the
planner can change what was delivered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np

from chronos_common.data.plan import Indices, Reals
from chronos_common.errors import CorruptStateError


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A worker takes part from the next turn on; ``rank`` is -1 where it has none."""

    worker: str
    incarnation: int
    rank: int = -1
    group: int = 0


@dataclass(frozen=True, kw_only=True)
class Left:
    """A worker is gone; what it had not finished is free again."""

    worker: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Dealt:
    """A step, or what came back of one, was divided among all members.

    Attributes:
        turn: number of the division, growing through the whole life of the plan.
        epoch: from 0.
        step: from 0 in each epoch.
        part: 0 for the step itself, then one for each time that samples of it came back.
        workers: members, sorted, (W,).
        indices: of the samples, those of the first worker first, (n,).
        offsets: worker w takes ``indices[offsets[w]:offsets[w + 1]]``, (W + 1,).
        costs: of the shares by the plan's cost model, (W,).
        sizes: sums of the samples' sizes, (W,).
    """

    turn: int
    epoch: int
    step: int
    part: int
    workers: tuple[str, ...]
    indices: Indices
    offsets: Indices
    costs: Reals
    sizes: Reals


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A worker is done with its share of a turn; ``seconds`` of its own computing, 0 where it did not say."""

    worker: str
    turn: int
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The next epoch."""

    epoch: int


@dataclass(frozen=True, kw_only=True)
class Rewound:
    """The plan goes back to where a checkpoint was: ``state`` is what ``Ledger.state`` gave then."""

    state: str


DataEvent: TypeAlias = Joined | Left | Dealt | Finished | Begun | Rewound

_PLAIN: Final[Mapping[str, type[Joined | Left | Finished | Begun | Rewound]]] = MappingProxyType(
    {"joined": Joined, "left": Left, "finished": Finished, "begun": Begun, "rewound": Rewound}
)
_NAMES: Final = MappingProxyType({cls: name for name, cls in _PLAIN.items()})
_DEALT: Final = "dealt"


def to_parts(event: DataEvent) -> tuple[str, str, bytes | None]:
    """Kind, canonical JSON, and the payload of a journal entry."""
    if isinstance(event, Dealt):
        meta = {
            "turn": event.turn,
            "epoch": event.epoch,
            "step": event.step,
            "part": event.part,
            "workers": list(event.workers),
            "offsets": event.offsets.tolist(),
            "costs": event.costs.tolist(),
            "sizes": event.sizes.tolist(),
        }
        return _DEALT, _canonical(meta), event.indices.astype("<i8").tobytes()
    return _NAMES[type(event)], _canonical(vars(event)), None


def from_parts(kind: str, meta: str, payload: bytes | None) -> DataEvent:
    """The event of a journal entry. Raises ``CorruptStateError`` where it is none."""
    try:
        fields: dict[str, Any] = json.loads(meta)
        if kind != _DEALT:
            return _PLAIN[kind](**fields)
        return Dealt(
            turn=fields["turn"],
            epoch=fields["epoch"],
            step=fields["step"],
            part=fields["part"],
            workers=tuple(fields["workers"]),
            indices=np.frombuffer(payload or b"", dtype="<i8").astype(np.int64),
            offsets=np.array(fields["offsets"], dtype=np.int64),
            costs=np.array(fields["costs"], dtype=np.float64),
            sizes=np.array(fields["sizes"], dtype=np.float64),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptStateError(f"a data plan's journal has an entry that is no event: {error!r}") from error


def _canonical(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))
