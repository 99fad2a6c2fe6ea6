"""Times, names, numbers, versions and enums: the pieces that all messages share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from chronos_common.engine.events import ACTIVE, FINISHED, STOPPED, UNREADABLE
from chronos_common.errors import InvalidRequestError, NonFiniteError, UnknownVersionError
from chronos_common.fleet.membership import require_name
from chronos_common.pb.chronos.v1 import coordinator_pb2, run_pb2
from chronos_common.versions import HYPERGRADIENT, PARAMETER_DELTA, WHOLE

MAX_COUNT: Final = 2**63 - 1
"""Versions and sequence numbers end where a signed column of the store does."""

MAX_TIME_SECONDS: Final = 253_402_300_799
"""End of the year 9999, the last second that a protobuf Timestamp may hold."""

MAX_METRICS: Final = 1000
"""Metrics in one commit."""

MAX_TEXT_BYTES: Final = 4096
"""Bytes of a text that is written for people, such as the reason of a stop."""

UNKNOWN: Final = "unknown"
"""How a client shows a status that a newer server sent."""

_STATUS: Final[Mapping[str, run_pb2.RunStatus]] = MappingProxyType(
    {
        ACTIVE: run_pb2.RUN_STATUS_ACTIVE,
        FINISHED: run_pb2.RUN_STATUS_FINISHED,
        STOPPED: run_pb2.RUN_STATUS_STOPPED,
        UNREADABLE: run_pb2.RUN_STATUS_UNREADABLE,
    }
)
_STATUS_NAMES: Final = MappingProxyType({int(value): name for name, value in _STATUS.items()})

_KIND: Final[Mapping[str, run_pb2.UpdateKind]] = MappingProxyType(
    {
        HYPERGRADIENT: run_pb2.UPDATE_KIND_HYPERGRADIENT,
        PARAMETER_DELTA: run_pb2.UPDATE_KIND_PARAMETER_DELTA,
    }
)
_KIND_NAMES: Final = MappingProxyType(
    {run_pb2.UPDATE_KIND_UNSPECIFIED: HYPERGRADIENT, **{int(value): name for name, value in _KIND.items()}}
)

_NANOS: Final = 1_000_000_000


def status_to_pb(status: str) -> run_pb2.RunStatus:
    """A run's status."""
    return _STATUS[status]


def status_from_pb(value: int) -> str:
    """A run's status; ``"unknown"`` for a value that this release lacks."""
    return _STATUS_NAMES.get(int(value), UNKNOWN)


def kind_to_pb(kind: str) -> run_pb2.UpdateKind:
    """A kind of update."""
    return _KIND[kind]


def kind_from_pb(value: int) -> str:
    """A kind of update.

    Raises:
        InvalidRequestError: a value that this release lacks.
    """
    return enum_from_pb(_KIND_NAMES, value, "kind")


def enum_from_pb(table: Mapping[int, str], value: int, field: str) -> str:
    """The name of an enum value.

    Raises:
        InvalidRequestError: the value is not in the table.
    """
    if int(value) not in table:
        raise InvalidRequestError(
            f"{field} has the value {int(value)}, which this release does not know or take; it takes "
            f"{', '.join(sorted(set(table.values())))}",
            field=field,
        )
    return table[int(value)]


def duration_to_pb(seconds: float) -> Duration:
    """Seconds, to the nanosecond.

    Raises:
        InvalidRequestError: not a finite time from 0 to the year 9999.
    """
    whole, nanos = _split_seconds(seconds, "duration")
    return Duration(seconds=whole, nanos=nanos)


def duration_from_pb(duration: Duration, field: str, *, max_seconds: float = MAX_TIME_SECONDS) -> float:
    """Seconds of a duration.

    Raises:
        InvalidRequestError: negative, malformed, or above ``max_seconds``.
    """
    seconds = _joined_seconds(duration.seconds, duration.nanos, field)
    if seconds > max_seconds:
        raise InvalidRequestError(
            f"{field} is {seconds:g} s; at most {max_seconds:g} s are allowed", field=field
        )
    return seconds


def time_to_pb(unix_seconds: float) -> Timestamp:
    """A moment, to the nanosecond; raises as :func:`duration_to_pb`."""
    whole, nanos = _split_seconds(unix_seconds, "time")
    return Timestamp(seconds=whole, nanos=nanos)


def time_from_pb(timestamp: Timestamp, field: str) -> float:
    """Unix seconds of a moment; raises ``InvalidRequestError`` before 1970, after 9999 or when malformed."""
    return _joined_seconds(timestamp.seconds, timestamp.nanos, field)


def name_from_pb(value: str, field: str, *, optional: bool = False) -> str:
    """A name of a run, worker or instance; raises ``InvalidRequestError`` unless it can be one."""
    if not (optional and not value):
        require_name(value, field)
    return value


def text_from_pb(value: str, field: str) -> str:
    """Text for people; raises ``InvalidRequestError`` above ``MAX_TEXT_BYTES``."""
    if len(value.encode()) > MAX_TEXT_BYTES:
        raise InvalidRequestError(f"{field} is longer than {MAX_TEXT_BYTES} bytes; shorten it", field=field)
    return value


def count_from_pb(value: int, field: str, *, least: int = 0) -> int:
    """A version, sequence number or amount; raises ``InvalidRequestError`` out of range."""
    if not least <= value <= MAX_COUNT:
        raise InvalidRequestError(
            f"{field} is {value}; it must lie between {least} and {MAX_COUNT}", field=field
        )
    return value


def metrics_from_pb(metrics: Mapping[str, float], field: str = "metrics") -> dict[str, float]:
    """Named finite numbers.

    Raises:
        InvalidRequestError: too many, or a name that is not printable text of 1 to 255 bytes.
        NonFiniteError: NaN or an infinity.
    """
    if len(metrics) > MAX_METRICS:
        raise InvalidRequestError(
            f"{len(metrics)} {field} in one message; at most {MAX_METRICS}", field=field
        )
    for name, value in metrics.items():
        require_name(name, f"a name in {field}")
        require_finite_number(value, name, field)
    return dict(metrics)


def require_finite_number(value: float, what: str, field: str) -> None:
    """Raises ``NonFiniteError`` for NaN and the infinities."""
    if not math.isfinite(value):
        raise NonFiniteError(f"{what} is {value}; leave out what cannot be measured", field=field)


def fragments_to_pb(version: int) -> list[coordinator_pb2.FragmentVersion]:
    """The version of outer parameters that are not sharded."""
    return [coordinator_pb2.FragmentVersion(fragment=WHOLE, version=version)]


def version_from_pb(fragments: Sequence[coordinator_pb2.FragmentVersion], field: str) -> int:
    """The version of outer parameters that are not sharded.

    Raises:
        InvalidRequestError: no version, or more than one.
        UnknownVersionError: a fragment that the run does not have.
    """
    _require_whole(fragments)
    if len(fragments) != 1:
        raise InvalidRequestError(
            f"{field} names {len(fragments)} versions; it must hold exactly one for each fragment of the run",
            field=field,
        )
    return count_from_pb(fragments[0].version, field)


def _require_whole(fragments: Iterable[coordinator_pb2.FragmentVersion]) -> None:
    for item in fragments:
        if item.fragment != WHOLE:
            raise UnknownVersionError(
                f"there is no fragment {item.fragment[:40]!r}; this run is not sharded, its only fragment is ''",
                fragment=item.fragment,
            )


def _split_seconds(seconds: float, what: str) -> tuple[int, int]:
    if not 0.0 <= seconds <= MAX_TIME_SECONDS:
        raise InvalidRequestError(f"a {what} of {seconds} seconds is out of range", field=what)
    whole = math.floor(seconds)
    # The difference is exact, so that a float survives the way there and back bit for bit.
    nanos = round((seconds - whole) * _NANOS)
    return (whole + 1, 0) if nanos == _NANOS else (whole, nanos)


def _joined_seconds(seconds: int, nanos: int, field: str) -> float:
    if not (0 <= seconds <= MAX_TIME_SECONDS and 0 <= nanos < _NANOS):
        raise InvalidRequestError(
            f"{field} is {seconds} s and {nanos} ns; it must not be negative, and its nanoseconds stay below 10^9",
            field=field,
        )
    return (seconds * _NANOS + nanos) / _NANOS
