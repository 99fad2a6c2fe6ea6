from __future__ import annotations

import math

import pytest

from chronos_common.errors import (
    ConfigurationError,
    IncarnationSupersededError,
    InvalidRequestError,
    OverloadedError,
    WorkerUnknownError,
)
from chronos_common.fleet import Fleet, FleetConfig, Registration

CONFIG = FleetConfig(heartbeat_seconds=1.0, timeout_seconds=5.0)


def register(fleet: Fleet, worker: str, instance: str, now: float = 0.0) -> tuple[int, bool]:
    registration = fleet.decide_registration(worker, instance)
    return registration.incarnation, fleet.register(registration, now)


def test_incarnations_follow_instances() -> None:
    fleet = Fleet(CONFIG)
    assert register(fleet, "a", "x") == (1, False)
    assert register(fleet, "a", "x") == (1, False)
    assert register(fleet, "a", "y") == (2, True)
    assert register(fleet, "b", "x") == (1, False)
    assert fleet.current_incarnation("a") == 2


def test_deciding_changes_nothing() -> None:
    fleet = Fleet(CONFIG)
    fleet.decide_registration("a", "x")
    with pytest.raises(WorkerUnknownError):
        fleet.current_incarnation("a")


def test_a_superseded_process_does_not_come_back() -> None:
    fleet = Fleet(CONFIG)
    register(fleet, "a", "x")
    register(fleet, "a", "y")
    with pytest.raises(IncarnationSupersededError):
        fleet.decide_registration("a", "x")
    assert register(fleet, "a", "y") == (2, False)


def test_no_more_workers_than_admitted_are_let_in_until_one_is_gone() -> None:
    fleet = Fleet(FleetConfig(heartbeat_seconds=1.0, timeout_seconds=5.0, max_workers=2))
    for name in ("a", "b"):
        fleet.require_room(name, 0.0)
        register(fleet, name, "x")
    fleet.require_room("a", 1.0)  # another process of one that lives
    with pytest.raises(OverloadedError, match="2 workers are alive"):
        fleet.require_room("c", 1.0)
    fleet.left("b", 1)
    fleet.require_room("c", 1.0)
    register(fleet, "c", "x", 1.0)
    with pytest.raises(OverloadedError):
        fleet.require_room("b", 1.0)
    fleet.require_room("b", 5.5)  # a fell silent


def test_incarnations_are_durable_and_liveness_is_not() -> None:
    fleet = Fleet(CONFIG, [Registration(worker_id="a", incarnation=7, instance_id="x")])
    assert fleet.live(0.0) == ()
    assert fleet.next_expiry() is None
    fleet.seen("a", 7, 3.0)
    assert fleet.live(4.0) == ("a",)
    assert register(fleet, "a", "y") == (8, True)


@pytest.mark.parametrize("call", ["seen", "left", "require_current"])
def test_only_the_current_process_speaks(call: str) -> None:
    fleet = Fleet(CONFIG)
    register(fleet, "a", "x")
    register(fleet, "a", "y", now=1.0)
    arguments = (2.0,) if call == "seen" else ()
    with pytest.raises(IncarnationSupersededError) as caught:
        getattr(fleet, call)("a", 1, *arguments)
    assert caught.value.details == {"worker_id": "a", "incarnation": 1, "current": 2}
    with pytest.raises(IncarnationSupersededError):
        getattr(fleet, call)("a", 3, *arguments)
    with pytest.raises(WorkerUnknownError):
        getattr(fleet, call)("b", 1, *arguments)
    assert fleet.live(2.0) == ("a",)


def test_silence_is_death_once() -> None:
    fleet = Fleet(CONFIG)
    register(fleet, "b", "x", now=0.0)
    register(fleet, "a", "x", now=1.0)
    assert fleet.live(4.9) == ("a", "b")
    assert fleet.next_expiry() == 5.0
    assert fleet.expire(4.9) == ()
    assert fleet.expire(5.0) == ("b",)
    assert fleet.expire(5.0) == ()
    assert not fleet.is_live("b", 5.0)
    fleet.seen("b", 1, 5.5)
    assert fleet.live(5.5) == ("a", "b")
    assert fleet.expire(1000.0) == ("a", "b")


@pytest.mark.parametrize("start", [0.1, 0.3, 1e6 + 0.1, 12345.6789])
def test_who_is_due_to_expire_has_expired_by_then(start: float) -> None:
    fleet = Fleet(CONFIG)
    register(fleet, "a", "x", now=start)
    expiry = fleet.next_expiry()
    assert expiry is not None
    assert fleet.expire(expiry) == ("a",)


def test_goodbye_is_no_death() -> None:
    fleet = Fleet(CONFIG)
    register(fleet, "a", "x")
    fleet.left("a", 1)
    assert fleet.live(0.0) == ()
    assert fleet.expire(100.0) == ()
    assert register(fleet, "a", "x") == (1, False)


@pytest.mark.parametrize("name", ["", "a\nb", "\x00", "é" * 128, "\ud800", "x" * 256])
def test_names_must_be_printable_and_short(name: str) -> None:
    fleet = Fleet(CONFIG)
    with pytest.raises(InvalidRequestError, match="worker_id"):
        fleet.decide_registration(name, "x")
    with pytest.raises(InvalidRequestError, match="instance_id"):
        fleet.decide_registration("a", name)


@pytest.mark.parametrize(
    ("heartbeat", "timeout"), [(0.0, 5.0), (math.nan, 5.0), (1.0, 1.9), (1.0, math.inf), (1.0, math.nan)]
)
def test_settings_that_would_expel_the_healthy_are_refused(heartbeat: float, timeout: float) -> None:
    with pytest.raises(ConfigurationError):
        FleetConfig(heartbeat_seconds=heartbeat, timeout_seconds=timeout)
