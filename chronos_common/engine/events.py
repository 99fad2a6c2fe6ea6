"""The journal's records: decisions, never requests.

Replaying them re-decides nothing. Each event turns into a kind, a canonical JSON text and an optional
payload, and back, without loss; the store sees only those.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chronos_common.errors import CorruptStateError

FINISHED = "finished"
STOPPED = "stopped"
ACTIVE = "active"


@dataclass(frozen=True, kw_only=True)
class Created:
    """A run begins: its configuration and version 0 as an identity payload, in stored coordinates."""

    config: str
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A worker became a member by its first checkout."""

    worker_id: str


@dataclass(frozen=True, kw_only=True)
class CommitRecord:
    """An accepted commit with the decision on it. ``payload`` is ``None`` for a skip.

    ``timing`` holds seconds of compute, wait and communication, as the worker reported them.
    """

    worker_id: str
    incarnation: int
    seq: int
    prev_applied: int
    base: int
    work: float
    staleness: int
    weight: float
    payload: bytes | None
    samples: int = 0
    tasks: int = 1
    metrics: Mapping[str, float] = field(default_factory=dict)
    timing: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A version: the commits in it (worker, seq) in order, the encoded value, and digests.

    ``payload`` is ``None`` when nothing changed (a round of skips). ``digest`` is that of the published
    value, ``state_digest`` that of everything the fold carries.
    """

    version: int
    commits: tuple[tuple[str, int], ...]
    payload: bytes | None
    digest: str
    state_digest: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The run is over: ``"finished"`` or ``"stopped"``, and why."""

    status: str
    reason: str


Event = Created | Joined | CommitRecord | Published | Ended

_KINDS: dict[str, type[Event]] = {
    "created": Created,
    "joined": Joined,
    "accepted": CommitRecord,
    "published": Published,
    "ended": Ended,
}
_NAMES = {cls: kind for kind, cls in _KINDS.items()}


def to_parts(event: Event) -> tuple[str, str, bytes | None]:
    """Kind, canonical JSON and payload of an event."""
    fields = dict(vars(event))
    payload: bytes | None = fields.pop("payload", None)
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return _NAMES[type(event)], text, payload


def from_parts(kind: str, meta: str, payload: bytes | None) -> Event:
    """The event that :func:`to_parts` took apart.

    Raises:
        CorruptStateError: not such parts.
    """
    cls = _KINDS.get(kind)
    if cls is None:
        raise CorruptStateError(
            f"the journal holds a record of unknown kind {kind!r}; a newer release wrote it"
        )
    try:
        fields: dict[str, Any] = json.loads(meta)
        if "payload" in cls.__dataclass_fields__:
            fields["payload"] = payload
        if cls is Published:
            fields["commits"] = tuple((worker, seq) for worker, seq in fields["commits"])
        return cls(**fields)
    except (TypeError, ValueError, KeyError) as error:
        raise CorruptStateError(f"the journal holds a damaged record of kind {kind!r}: {error!r}") from error
