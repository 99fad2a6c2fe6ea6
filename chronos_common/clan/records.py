"""What a coordinator journals of a clan: decisions, in order, from which its state follows.

A record of a joiner holds its genome, and that of a round's end the whole population after it: replay selects, breeds
and mutates nothing, so that no release of the genetics can change what was decided.  ``checking.py`` decides again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final

from chronos_common.clan.events import Move, RoundClosed
from chronos_common.clan.genome import Genome, genome_from_json
from chronos_common.clan.state import ClanState, state_from_json
from chronos_common.errors import ChronosError, CorruptStateError
from chronos_common.runtime import require_kinds

LEFT, SILENT, SUPERSEDED, LATE, ABSENT = "left", "silent", "superseded", "late", "absent"
UNREACHABLE = "unreachable"


@dataclass(frozen=True, kw_only=True)
class Seated:
    """A process takes a place.

    Attributes:
        member: the place.
        worker: who.
        incarnation: which process of it.
        address: where other members reach it; empty where they need not.
        time: unix seconds.
        source: member whose weights it takes over; ``None``: its own genome's, or there is nobody to take from.
        genome: the one that it is born with, if it takes anything over.
    """

    member: int
    worker: str
    incarnation: int
    address: str = ""
    time: float = 0.0
    source: int | None = None
    genome: Genome | None = None


@dataclass(frozen=True, kw_only=True)
class Vacated:
    """A place is empty; ``dead``: nothing more is expected of it, until somebody takes it."""

    member: int
    reason: str
    dead: bool = True


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A round has begun; ``deadline`` in unix seconds, ``None`` without one."""

    round: int
    deadline: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A fitness was taken; what is not finite is infinite."""

    round: int
    member: int
    fitness: float


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A round has closed; ``after`` is the clan from then on, without the family tree before the round."""

    decision: RoundClosed
    after: ClanState


@dataclass(frozen=True, kw_only=True)
class Rewound:
    """The training has gone back to a checkpoint."""

    state: ClanState


Record = Seated | Vacated | Begun | Reported | Ended | Rewound

RECORDS: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {kind.__name__.lower(): kind for kind in (Seated, Vacated, Begun, Reported, Ended, Rewound)}
)


def record_to_parts(record: Record) -> tuple[str, str]:
    """The record's kind, and its content as canonical JSON."""
    kind = type(record).__name__.lower()
    if isinstance(record, Seated):
        parts = {**_plain(record, "genome"), "genome": record.genome.to_json() if record.genome else None}
    elif isinstance(record, Reported):
        fitness = record.fitness if math.isfinite(record.fitness) else None
        parts = {**_plain(record), "fitness": fitness}
    elif isinstance(record, Ended):
        parts = {"decision": asdict(record.decision), "after": record.after.to_json()}
    elif isinstance(record, Rewound):
        parts = {"state": record.state.to_json()}
    else:
        parts = _plain(record)
    return kind, canonical(parts)


def record_from_parts(kind: str, text: str) -> Record:
    """Inverse of :func:`record_to_parts`.

    Raises:
        CorruptStateError: malformed.
    """
    try:
        parts: dict[str, Any] = json.loads(text)
        if kind == "seated":
            genome = parts.pop("genome")
            parts["genome"] = None if genome is None else genome_from_json(genome)
        if kind == "reported" and parts["fitness"] is None:
            parts["fitness"] = math.inf
        if kind == "ended":
            return Ended(
                decision=decision_from_json(parts["decision"]), after=state_from_json(parts["after"])
            )
        if kind == "rewound":
            return Rewound(state=state_from_json(parts["state"]))
        record: Record = RECORDS[kind](**parts)
        require_kinds(record)
    except CorruptStateError:
        raise
    except (AttributeError, ChronosError, KeyError, TypeError, ValueError) as error:
        raise CorruptStateError(
            f"a clan's journal holds a {kind!r} that cannot be read: {error!r}"
        ) from error
    return record


def decision_from_json(parts: Mapping[str, Any]) -> RoundClosed:
    """The decision whose ``asdict`` this was."""
    return RoundClosed(
        round=int(parts["round"]),
        ranking=tuple(parts["ranking"]),
        moves=tuple(Move(**move) for move in parts["moves"]),
        restart=bool(parts["restart"]),
        soup=tuple(parts["soup"]),
        finished=bool(parts["finished"]),
    )


def canonical(parts: Any) -> str:
    """JSON with one spelling."""
    return json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(state: ClanState) -> str:
    """SHA-256 of everything that decides, in hexadecimal."""
    return hashlib.sha256(canonical(state.to_json()).encode()).hexdigest()


def _plain(record: Record, *without: str) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in without}
