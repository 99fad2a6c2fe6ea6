"""The in-process face of the round machine."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chronos_common.errors import ChainBrokenError, NonFiniteError, StaleCommitError, WorkerNotMemberError
from chronos_common.versions import (
    Accepted,
    BoundedVersionQueue,
    Checkout,
    LeaseConfig,
    MustWait,
    RoundConfig,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def total(value: float, commits: Sequence[Accepted[float]]) -> float:
    return value + sum(a.weight * a.commit.update for a in commits if a.commit.update is not None)


def queue(clock: Clock, **rounds: int | float | None) -> BoundedVersionQueue[float, float]:
    return BoundedVersionQueue(
        0.0,
        total,
        rounds=RoundConfig(**rounds),  # type: ignore[arg-type]
        leases=LeaseConfig(initial_seconds=10.0),
        clock=clock,
    )


def test_commits_become_versions() -> None:
    box = queue(Clock(), quorum=2)
    for worker in ("a", "b"):
        checkout = box.checkout(worker)
        assert isinstance(checkout, Checkout)
        assert (checkout.version, checkout.value, checkout.deadline) == (0, 0.0, 10.0)
    box.commit("a", 0, 1.0)
    assert (box.version, box.value) == (0, 0.0)
    box.commit("b", 0, 2.0)
    assert (box.version, box.value) == (1, 3.0)
    answer = box.commit("a", 0, 4.0)
    assert (answer.staleness, answer.weight) == (1, 0.5)
    assert box.tracker.histogram == {0: 2, 1: 1}


def test_a_round_of_skips_changes_the_version_and_not_the_value() -> None:
    box = queue(Clock(), quorum=1)
    box.checkout("a")
    box.commit("a", 0, None)
    assert (box.version, box.value) == (1, 0.0)


def test_refusals_change_nothing() -> None:
    clock = Clock()

    def check(update: float) -> None:
        raise NonFiniteError("never")

    box = BoundedVersionQueue(0.0, total, rounds=RoundConfig(quorum=1), check=check, clock=clock)
    with pytest.raises(WorkerNotMemberError):
        box.commit("a", 0, 1.0)
    box.checkout("a")
    with pytest.raises(NonFiniteError):
        box.commit("a", 0, 1.0)
    with pytest.raises(ChainBrokenError):
        box.commit("a", 0, None, seq=3, prev_applied=2)
    assert (box.version, box.tracker.histogram) == (0, {})


def test_repeats_get_the_stored_answer() -> None:
    box = queue(Clock(), quorum=1, max_staleness=0, max_in_flight=1)
    box.checkout("a")
    first = box.commit("a", 0, 1.0, seq=1, prev_applied=0)
    assert box.commit("a", 0, 1.0, seq=1, prev_applied=0) == first
    with pytest.raises(StaleCommitError):
        box.commit("a", 0, 1.0)
    assert box.value == 1.0


def test_time_and_departures_complete_rounds() -> None:
    clock = Clock()
    box = queue(clock, quorum=2)
    for worker in ("a", "b", "c"):
        box.checkout(worker)
    box.commit("a", 0, 1.0)
    box.leave("b")
    box.leave("nobody")
    assert box.version == 0
    clock.now = 10.0
    box.tick()
    assert box.version == 1


def test_a_complete_barrier_says_wait() -> None:
    box = queue(Clock(), quorum=1, max_staleness=0, max_in_flight=1)
    box.checkout("a")
    box.checkout("b")
    box.commit("a", 0, 1.0)
    assert isinstance(box.checkout("a"), MustWait)
    box.commit("b", 0, 1.0)
    assert box.version == 1


def test_the_defaults_are_the_protocols() -> None:
    box: BoundedVersionQueue[float, float] = BoundedVersionQueue(0.0, total)
    assert isinstance(box.checkout("a"), Checkout)
    box.commit("a", 0, 1.0)
    assert box.version == 1
