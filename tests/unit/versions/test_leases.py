from __future__ import annotations

import pytest

from chronos_common.versions import LeaseConfig, LeaseTable, RoundTimer


def test_a_worker_holds_one_lease() -> None:
    table = LeaseTable()
    table.grant("a", 1, 0.0, 10.0)
    table.grant("a", 2, 0.0, 12.0)
    table.grant("b", 0, 0.0, 8.0)
    assert table.pinned(5.0) == {2, 0}
    assert table.pinned(5.0, but="b") == {2}
    table.release("a")
    table.release("a")
    assert table.get("a") is None
    assert table.pinned(5.0) == {0}


def test_a_lease_pins_until_its_deadline_and_not_at_it() -> None:
    table = LeaseTable()
    table.grant("a", 1, 0.0, 10.0)
    assert table.pinned(9.999) == {1}
    assert table.pinned(10.0) == frozenset()
    assert table.get("a") is not None
    assert table.next_deadline(9.0) == 10.0
    assert table.next_deadline(10.0) is None


def test_leases_follow_the_median_round() -> None:
    timer = RoundTimer(
        LeaseConfig(initial_seconds=30.0, min_seconds=2.0, max_seconds=50.0, window=3), max_staleness=2
    )
    assert timer.lease_seconds() == 30.0
    timer.published(100.0)
    assert timer.lease_seconds() == 30.0
    for now in (104.0, 108.0, 1000.0):
        timer.published(now)
    assert timer.lease_seconds() == 12.0
    timer.published(2000.0)
    assert timer.lease_seconds() == 50.0


@pytest.mark.parametrize(("seconds", "lease"), [(0.001, 2.0), (-5.0, 2.0), (1e9, 50.0)])
def test_leases_stay_in_their_limits(seconds: float, lease: float) -> None:
    timer = RoundTimer(LeaseConfig(initial_seconds=30.0, min_seconds=2.0, max_seconds=50.0), max_staleness=0)
    timer.observe(seconds)
    assert timer.lease_seconds() == lease


def test_leases_leave_the_median_worker_time_to_finish() -> None:
    timer = RoundTimer(LeaseConfig(initial_seconds=30.0, min_seconds=0.1, max_seconds=50.0), max_staleness=0)
    timer.worked(1.0, 0.1)
    assert timer.lease_seconds() == 30.0, "no round has been timed"
    timer.observe(1.0)
    assert timer.lease_seconds() == 12.5
    for _ in range(2):
        timer.worked(4.0, 1.0)
    assert timer.lease_seconds() == 5.0
    timer.worked(1.0, 5e-324)
    timer.worked(-1.0, 1.0)
    assert timer.lease_seconds() == 5.0


def test_what_a_version_was_deferred_for_is_no_part_of_its_round() -> None:
    timer = RoundTimer(LeaseConfig(initial_seconds=30.0, min_seconds=0.1, max_seconds=50.0), max_staleness=2)
    timer.published(0.0)
    timer.published(20.0, complete_at=4.0)
    assert timer.lease_seconds() == 12.0
