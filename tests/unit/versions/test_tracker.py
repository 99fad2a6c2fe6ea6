from __future__ import annotations

import pytest

from chronos_common.errors import UnknownVersionError
from chronos_common.versions import VersionTracker


def test_versions_are_counted_per_fragment() -> None:
    tracker = VersionTracker(["a", "b"], version=3)
    assert tracker.advance("a") == 4
    assert tracker.versions == {"a": 4, "b": 3}
    assert tracker.staleness(2, "a") == 2
    assert tracker.histogram == {}


def test_observed_staleness_is_counted() -> None:
    tracker = VersionTracker(version=5)
    for base in (5, 3, 5, 4):
        tracker.observe(base)
    assert tracker.histogram == {0: 2, 1: 1, 2: 1}
    assert tracker.current() == 5


@pytest.mark.parametrize("base", [-1, 6])
def test_versions_that_never_existed_are_refused(base: int) -> None:
    tracker = VersionTracker(version=5)
    with pytest.raises(UnknownVersionError, match="newest is 5"):
        tracker.observe(base)
    assert tracker.histogram == {}


def test_unknown_fragments_are_refused() -> None:
    for call in (VersionTracker().current, VersionTracker().advance):
        with pytest.raises(UnknownVersionError, match="no fragment 'x'"):
            call("x")
