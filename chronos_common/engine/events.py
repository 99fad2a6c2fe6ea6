"""The journal's records: decisions, never requests.

Replaying them re-decides nothing. Each event turns into a kind, a canonical JSON text and an optional
payload, and back, without loss; the store sees only those.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from chronos_common.errors import CorruptStateError

FINISHED = "finished"
STOPPED = "stopped"
ACTIVE = "active"
UNREADABLE = "unreadable"
"""What a run is listed as whose journal is damaged; never a state."""

DIVERGED = "diverged"
"""Metric of a skip whose inner problem did not stay finite: 1."""


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

    ``timing`` holds seconds of compute, wait and communication, as the worker reported them. ``residual_lost``
    declares that what the worker owed before this commit, if anything, will never come. ``level_weights`` are the
    weights of the update's parts, by level of the outer parameters, where there are some.
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
    residual_lost: bool = False
    level_weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A version: the commits in it (worker, seq) in order, what was published of it, and digests.

    Attributes:
        version: its number.
        commits: what was merged.
        payload: what clients add to the version before, or the whole value; ``None`` when nothing changed (a
            round of skips).
        digest: of the published value.
        state_digest: of everything the fold carries.
        is_delta: whether the payload is to be added.
        guard: the density guard after this version, as ``GuardState.to_json`` writes it; ``None`` where the
            downlink is lossless.
    """

    version: int
    commits: tuple[tuple[str, int], ...]
    payload: bytes | None
    digest: str
    state_digest: str
    is_delta: bool = False
    guard: Mapping[str, float | None] | None = None


@dataclass(frozen=True, kw_only=True)
class WarmStarted:
    """The run begins at what another one ended with, instead of the values that it was created with.

    Attributes:
        run_id: the other one; for people, since everything that is taken over is here.
        version: of it.
        steps: of its optimiser; 0 where the optimiser begins afresh.
        scalars: of its optimiser.
        payload: arrays ``values/NAME`` and ``slot/SLOT/NAME``, an identity payload.
    """

    run_id: str
    version: int
    steps: int
    scalars: Mapping[str, float]
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """What a user tells the run's memory.

    Attributes:
        what: ``"stored"``, or ``"forbidden"`` for a place that failed.
        loss: the outer loss, of what is stored.
        radius: of a place that failed, in stored coordinates; 0 is the configured one.
        source: who says so, or why it failed.
        version: at which it was found; 0 where that means nothing.
        payload: arrays ``values/NAME`` and ``gradient/NAME``, an identity payload.
    """

    what: str
    loss: float
    radius: float
    source: str
    version: int
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The run is over: ``"finished"`` or ``"stopped"``, and why."""

    status: str
    reason: str


Event = Created | WarmStarted | Joined | CommitRecord | Published | Remembered | Ended

_KINDS: dict[str, type[Event]] = {
    "created": Created,
    "warm_started": WarmStarted,
    "joined": Joined,
    "accepted": CommitRecord,
    "published": Published,
    "remembered": Remembered,
    "ended": Ended,
}
_NAMES = {cls: kind for kind, cls in _KINDS.items()}


_ABSENT: Mapping[str, Any] = {"is_delta": False, "guard": None, "residual_lost": False, "level_weights": {}}
"""Fields younger than the journals of the first release, by the value at which they are left out: those journals,
whose hash is chained over these texts, stay what they are."""


def to_parts(event: Event) -> tuple[str, str, bytes | None]:
    """Kind, canonical JSON and payload of an event."""
    values = dict(vars(event))
    payload: bytes | None = values.pop("payload", None)
    values = {name: value for name, value in values.items() if name not in _ABSENT or value != _ABSENT[name]}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False, default=dict)
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
        values: dict[str, Any] = json.loads(meta)
        if "payload" in cls.__dataclass_fields__:
            values["payload"] = payload
        elif payload is not None:
            raise ValueError("it has a payload")
        if cls is Published:
            values["commits"] = tuple((worker, seq) for worker, seq in values["commits"])
        event = cls(**values)
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise CorruptStateError(f"the journal holds a damaged record of kind {kind!r}: {error!r}") from error
    for entry in fields(event):
        if not _CHECKS[str(entry.type)](getattr(event, entry.name)):
            raise CorruptStateError(
                f"the journal holds a record of kind {kind!r} with a damaged {entry.name!r}"
            )
    return event


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": _is_int,
    "float": _is_finite,
    "bool": lambda value: isinstance(value, bool),
    "bytes": lambda value: isinstance(value, bytes),
    "bytes | None": lambda value: value is None or isinstance(value, bytes),
    "Mapping[str, float]": lambda value: isinstance(value, dict) and all(map(_is_finite, value.values())),
    "Mapping[str, float | None] | None": lambda value: (
        value is None or (isinstance(value, dict) and all(v is None or _is_finite(v) for v in value.values()))
    ),
    "tuple[tuple[str, int], ...]": lambda value: all(isinstance(w, str) and _is_int(seq) for w, seq in value),
}
"""What a field of an annotation may hold: a record that was damaged must not reach the fold."""
