from __future__ import annotations

import math

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from chronos_common.errors import InvalidRequestError, NonFiniteError, UnknownVersionError
from chronos_common.pb.chronos.v1.coordinator_pb2 import FragmentVersion
from chronos_common.pb.chronos.v1.run_pb2 import RunStatus, UpdateKind
from chronos_common.versions import KINDS
from chronos_common.wire.convert import scalars


@given(st.integers(0, 10**15).map(lambda nanoseconds: nanoseconds / 1e9))
@example(0.3)
@example(12.3)
@example(1e6 / 3)
def test_durations_keep_their_nanoseconds(seconds: float) -> None:
    message = scalars.duration_to_pb(seconds)
    message.ToTimedelta()
    assert scalars.duration_from_pb(message, "wait") == pytest.approx(seconds, abs=5e-10, rel=0)


@given(st.decimals(0, 1000, places=3).map(float))
def test_durations_that_a_person_writes_are_exact(seconds: float) -> None:
    assert scalars.duration_from_pb(scalars.duration_to_pb(seconds), "wait") == seconds


@given(st.floats(1e9, 4e9))
def test_moments_are_exact(unix_seconds: float) -> None:
    assert scalars.time_from_pb(scalars.time_to_pb(unix_seconds), "time") == unix_seconds


def test_a_time_just_below_a_second_carries_over() -> None:
    assert scalars.duration_to_pb(math.nextafter(2.0, 0.0)) == Duration(seconds=2)


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf, 1e12])
def test_times_that_cannot_be_sent(seconds: float) -> None:
    with pytest.raises(InvalidRequestError):
        scalars.duration_to_pb(seconds)


@pytest.mark.parametrize(
    "duration",
    [
        Duration(seconds=-1),
        Duration(nanos=-1),
        Duration(nanos=10**9),
        Duration(seconds=2**62),
        Duration(seconds=11),
    ],
)
def test_durations_that_are_refused(duration: Duration) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        scalars.duration_from_pb(duration, "wait", max_seconds=10.0)
    assert caught.value.details == {"field": "wait"}


def test_moments_that_are_refused() -> None:
    with pytest.raises(InvalidRequestError):
        scalars.time_from_pb(Timestamp(seconds=-62_135_596_800), "time")


def test_every_status_is_carried() -> None:
    names = [scalars.status_from_pb(value) for value in RunStatus.values()]
    known = ["active", "finished", "stopped", "unreadable"]
    assert sorted(names) == sorted([*known, "unknown"])
    assert [scalars.status_from_pb(scalars.status_to_pb(name)) for name in known] == known
    assert scalars.status_from_pb(77) == "unknown"


def test_every_kind_is_carried() -> None:
    assert {scalars.kind_from_pb(value) for value in UpdateKind.values()} == set(KINDS)
    assert all(scalars.kind_from_pb(scalars.kind_to_pb(kind)) == kind for kind in KINDS)
    with pytest.raises(InvalidRequestError, match="hypergradient"):
        scalars.kind_from_pb(77)


@pytest.mark.parametrize("name", ["", "a\x00b", "tab\t", "é" * 128])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError):
        scalars.name_from_pb(name, "run_id")


def test_names_that_are_taken() -> None:
    assert scalars.name_from_pb("", "run_id", optional=True) == ""
    assert scalars.name_from_pb("pod-0 é", "worker_id") == "pod-0 é"


def test_text_and_counts() -> None:
    assert scalars.text_from_pb("line\nline", "reason") == "line\nline"
    with pytest.raises(InvalidRequestError):
        scalars.text_from_pb("é" * 2049, "reason")
    assert scalars.count_from_pb(2**63 - 1, "seq") == 2**63 - 1
    for value in (0, 2**63):
        with pytest.raises(InvalidRequestError):
            scalars.count_from_pb(value, "seq", least=1)


def test_metrics() -> None:
    assert scalars.metrics_from_pb({"a": 1.0}) == {"a": 1.0}
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(NonFiniteError):
            scalars.metrics_from_pb({"a": value})
    with pytest.raises(InvalidRequestError):
        scalars.metrics_from_pb({f"m{i}": 0.0 for i in range(scalars.MAX_METRICS + 1)})


def test_versions() -> None:
    assert scalars.version_from_pb(scalars.fragments_to_pb(7), "base") == 7
    with pytest.raises(UnknownVersionError):
        scalars.version_from_pb([FragmentVersion(fragment="x")], "base")
    for fragments in ([], [FragmentVersion(), FragmentVersion()]):
        with pytest.raises(InvalidRequestError):
            scalars.version_from_pb(fragments, "base")
